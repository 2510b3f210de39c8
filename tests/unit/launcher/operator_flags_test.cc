// SPDX-License-Identifier: Apache-2.0
#include "operator_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <filesystem>

#include "find_coordinator.h"
#include "host_addresses.h"
#include "socket_folder.h"
#include "spillway/launcher/descriptor.h"

namespace spillway {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr OperatorFlag kFlags[] = {
    {"listen", "ADDR", "where", true}, {"store", "FILE", "what"}, {"insecure", nullptr, "how"}};

absl::StatusOr<OperatorArguments> read(const std::vector<std::string>& arguments)
{
  return read_operator_flags("coordinator", kFlags, arguments);
}

TEST(OperatorFlags, ValuesWordsAndSwitchesInAnyOrder)
{
  const auto given = read({"a", "--listen", "x:1", "--insecure", "--listen=y:2", "b"});
  ASSERT_TRUE(given.ok()) << given.status();
  EXPECT_THAT(given->words, ElementsAre("a", "b"));
  EXPECT_THAT(given->values.at("listen"), ElementsAre("x:1", "y:2"));
  EXPECT_TRUE(given->has("insecure"));
  EXPECT_EQ(given->value("store", "memory"), "memory");
  EXPECT_TRUE(read({"-h"})->has("help"));
}

TEST(OperatorFlags, RefusalsSayWhatWouldBeRight)
{
  const std::vector<std::pair<std::vector<std::string>, const char*>> refusals = {
      {{"--stroe", "x"}, "did you mean --store?"},
      {{"-s"}, "unknown flag -s; did you mean --store?"},
      {{"--store"}, "needs a value: what"},
      {{"--store="}, "needs a value"},
      {{"--insecure=yes"}, "takes no value"},
      {{"--store", "a", "--store", "b"}, "given twice"},
  };
  for (const auto& [arguments, says] : refusals)
  {
    const auto given = read(arguments);
    EXPECT_EQ(given.status().code(), absl::StatusCode::kInvalidArgument) << arguments[0];
    EXPECT_THAT(std::string(given.status().message()), HasSubstr(says));
  }
}

TEST(OperatorFlags, Numbers)
{
  EXPECT_EQ(*seconds_of("timeout", "1.5", 10), 1.5);
  for (const char* bad : {"0", "-1", "11", "soon", "nan"})
    EXPECT_FALSE(seconds_of("timeout", bad, 10).ok()) << bad;
  EXPECT_EQ(*id_of("worker", "7"), 7U);
  for (const char* bad : {"0", "-7", "w", ""}) EXPECT_FALSE(id_of("worker", bad).ok()) << bad;
  EXPECT_EQ(*lineage_of("1234"), 1234U);
  EXPECT_EQ(*lineage_of("0x10"), 16U);
  EXPECT_EQ(*lineage_of("00000000000000ff"), 255U);
  EXPECT_EQ(*lineage_of("18446744073709551615"), ~std::uint64_t{0});
  EXPECT_FALSE(lineage_of("000000000000000g").ok());
  EXPECT_FALSE(lineage_of("0x0").ok());
}

TEST(OperatorFlags, HelpNamesEveryFlag)
{
  const std::string help = operator_help("usage", "about", kFlags);
  for (const OperatorFlag& flag : kFlags) EXPECT_THAT(help, HasSubstr(flag.help));
}

TEST(HostAddresses, LoopbackIsHereAndOthersAreNot)
{
  EXPECT_TRUE(is_this_host("127.0.0.1"));
  EXPECT_TRUE(is_this_host("127.3.2.1"));
  EXPECT_TRUE(is_this_host("localhost"));
  EXPECT_FALSE(is_this_host("192.0.2.1"));
  EXPECT_FALSE(somebody_listens("127.0.0.1", 1));
  EXPECT_EQ(own_address_towards("127.0.0.1", 1), "127.0.0.1");
  EXPECT_EQ(endpoint_text("::1", 5), "[::1]:5");
  EXPECT_EQ(endpoint_text("h", 5), "h:5");
}

TEST(FindCoordinator, TheOnlyStandaloneJobAndNoDeadSocket)
{
  const auto root = SocketFolder::create("/tmp");
  const std::string folder = std::filesystem::path(root->socket("x")).parent_path();
  const auto listen_at = [](const std::string& path, bool listens) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path.c_str(), path.size());
    Descriptor fd(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << path;
    EXPECT_TRUE(!listens || listen(fd.get(), 1) == 0);
    return fd;
  };
  const auto one = SocketFolder::create(folder);
  const auto dead = SocketFolder::create(folder);
  ASSERT_TRUE(one.ok() && dead.ok());
  const Descriptor alive = listen_at(one->socket("coordinator"), true);
  listen_at(dead->socket("coordinator"), false);
  const auto found = carried_sockets(folder);
  EXPECT_EQ(std::count(found.begin(), found.end(), one->socket("coordinator")), 1);
  EXPECT_EQ(std::count(found.begin(), found.end(), dead->socket("coordinator")), 0);
  remove_dead_folders(folder, std::chrono::seconds(60));
  EXPECT_TRUE(std::filesystem::exists(dead->socket("coordinator"))) << "it may just be starting";
  remove_dead_folders(folder, std::chrono::seconds(0));
  EXPECT_FALSE(std::filesystem::exists(dead->socket("coordinator")));
  EXPECT_TRUE(std::filesystem::exists(one->socket("coordinator")));
}

TEST(SocketFolder, IsPrivateShortAndGoneAfterwards)
{
  std::string path;
  {
    const auto folder = SocketFolder::create("/tmp");
    ASSERT_TRUE(folder.ok()) << folder.status();
    path = std::filesystem::path(folder->socket("agent")).parent_path();
    EXPECT_EQ(std::filesystem::status(path).permissions(), std::filesystem::perms::owner_all);
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  const auto short_one = SocketFolder::create("/tmp/" + std::string(200, 'x'));
  ASSERT_TRUE(short_one.ok());
  EXPECT_LT(short_one->socket("coordinator").size(), 107U);
  EXPECT_EQ(SocketFolder::create("/no/such/folder").status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace spillway
