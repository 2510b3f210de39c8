// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <iterator>

#include "store_suite.h"

namespace spillway::coordinator {
namespace {

namespace fs = std::filesystem;

fs::path new_folder()
{
  std::string pattern = (fs::temp_directory_path() / "spillway_store_XXXXXX").string();
  const char* made = ::mkdtemp(pattern.data());
  EXPECT_NE(made, nullptr);
  return made;
}

struct SqliteStorage final : StoreBackend::Storage
{
  ~SqliteStorage() override
  {
    full(false);
    fs::remove_all(folder);
  }
  absl::StatusOr<std::unique_ptr<Store>> open() override { return open_sqlite_store(file); }
  void corrupt(const std::string&, const std::string& needle) override
  {
    bool found = false;
    for (const auto& entry : fs::directory_iterator(folder))
    {
      std::ifstream in(entry.path(), std::ios::binary);
      std::string bytes((std::istreambuf_iterator<char>(in)), {});
      const std::size_t at = bytes.find(needle);
      if (at == std::string::npos) continue;
      bytes[at] ^= 0x10;
      std::ofstream(entry.path(), std::ios::binary | std::ios::trunc) << bytes;
      found = true;
    }
    EXPECT_TRUE(found) << "no file holds the record";
  }
  // A limit on the size of files stands in for a full disk: the same calls fail.
  void full(bool is_full) override
  {
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    if (is_full) ::signal(SIGXFSZ, SIG_IGN);
    limit.rlim_cur = is_full ? 65536 : limit.rlim_max;
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  fs::path folder = new_folder();
  fs::path file = folder / "coordinator.db";
};

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreSuite,
                         ::testing::Values(StoreBackend{
                             "sqlite", [] { return std::make_unique<SqliteStorage>(); }}));

class SqliteStoreTest : public ::testing::Test
{
 protected:
  SqliteStorage storage_;
};

TEST_F(SqliteStoreTest, RefusesAFileThatIsNoDatabase)
{
  std::ofstream(storage_.file) << std::string(20000, 'z');
  const auto store = storage_.open();
  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
  EXPECT_THAT(std::string(store.status().message()), ::testing::HasSubstr("restore the file"));
}

TEST_F(SqliteStoreTest, RefusesAnotherProgramsDatabase)
{
  {
    auto store = storage_.open();
  }
  {
    std::fstream raw(storage_.file, std::ios::in | std::ios::out | std::ios::binary);
    raw.seekp(68);
    raw.write("Else", 4);
  }
  const auto store = storage_.open();
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition) << store.status();
  EXPECT_THAT(std::string(store.status().message()), ::testing::HasSubstr("name another file"));
}

TEST_F(SqliteStoreTest, RefusesAFormatItDoesNotKnow)
{
  {
    auto store = storage_.open();
  }
  {
    std::fstream raw(storage_.file, std::ios::in | std::ios::out | std::ios::binary);
    raw.seekp(63);
    raw.write("\x09", 1);
  }
  const auto store = storage_.open();
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition) << store.status();
}

TEST_F(SqliteStoreTest, RefusesATruncatedFile)
{
  {
    auto store = *storage_.open();
    const Term term = *store->begin_term();
    ASSERT_TRUE(store->write(term, "job", std::string(100000, 'r')).ok());
  }
  fs::resize_file(storage_.file, fs::file_size(storage_.file) / 2);
  const auto store = storage_.open();
  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
}

TEST_F(SqliteStoreTest, AMissingFolderIsNamed)
{
  const auto store = open_sqlite_store(storage_.folder / "nowhere" / "x.db");
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition) << store.status();
  EXPECT_THAT(std::string(store.status().message()), ::testing::HasSubstr("nowhere"));
  const auto absent = open_sqlite_store(storage_.file, {.create = false});
  EXPECT_EQ(absent.status().code(), absl::StatusCode::kFailedPrecondition) << absent.status();
}

TEST_F(SqliteStoreTest, TheSizeLimitIsAFullDisk)
{
  auto store = *open_sqlite_store(storage_.file, {.size_bytes_max = 64 << 10});
  const Term term = *store->begin_term();
  ASSERT_TRUE(store->write(term, "job", "kept").ok());
  const absl::Status refused = store->write(term, "job", std::string(200000, 'x'));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_EQ(**store->load("job"), "kept");
  EXPECT_TRUE(store->write(term, "job", "again").ok());
}

// Writes records 1, 2, 3, … and tells the parent each number that was acknowledged.
[[noreturn]] void write_until_killed(const fs::path& file, int report)
{
  auto store = open_sqlite_store(file);
  if (!store.ok()) ::_exit(3);
  const auto term = (*store)->begin_term();
  if (!term.ok()) ::_exit(4);
  for (std::uint32_t i = 1; i <= 10000; ++i)
  {
    const std::string record = std::to_string(i) + ":" + std::string(i % 9000, 'p');
    if (!(*store)->write(*term, "job", record).ok()) ::_exit(5);
    if (::write(report, &i, sizeof(i)) != sizeof(i)) ::_exit(6);
  }
  ::_exit(0);
}

TEST_F(SqliteStoreTest, KilledBetweenAnyTwoWritesItKeepsWhatWasAcknowledged)
{
  Term last_term;
  for (std::uint32_t kill_after = 1; kill_after <= 12; ++kill_after)
  {
    std::array<int, 2> pipe_ends{};
    ASSERT_EQ(::pipe(pipe_ends.data()), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) write_until_killed(storage_.file, pipe_ends[1]);
    ::close(pipe_ends[1]);
    std::uint32_t acknowledged = 0;
    while (acknowledged < kill_after &&
           ::read(pipe_ends[0], &acknowledged, sizeof(acknowledged)) == sizeof(acknowledged))
    {
    }
    ::kill(child, SIGKILL);
    int how = 0;
    ASSERT_EQ(::waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFSIGNALED(how)) << "the child left with " << WEXITSTATUS(how);
    while (::read(pipe_ends[0], &acknowledged, sizeof(acknowledged)) == sizeof(acknowledged))
    {
    }
    ::close(pipe_ends[0]);

    auto store = storage_.open();
    ASSERT_TRUE(store.ok()) << store.status();
    const auto record = (*store)->load("job");
    ASSERT_TRUE(record.ok() && record->has_value()) << record.status();
    const std::uint32_t kept = static_cast<std::uint32_t>(std::stoul(**record));
    EXPECT_GE(kept, acknowledged);
    EXPECT_LE(kept, acknowledged + 1);
    EXPECT_EQ((*record)->size(), std::to_string(kept).size() + 1 + kept % 9000);
    const Term term = *(*store)->begin_term();
    EXPECT_GT(term, last_term);
    last_term = term;
  }
}

}  // namespace
}  // namespace spillway::coordinator
