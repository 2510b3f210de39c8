// SPDX-License-Identifier: Apache-2.0
#include <sqlite3.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "spillway/base/check.h"
#include "spillway/base/status.h"
#include "spillway/coordinator/store.h"
#include "store/record_checksum.h"

namespace spillway::coordinator {
namespace {

// "SpWy": marks the file as ours, so that another program's database is never written to.
constexpr int kApplicationId = 0x53705779;
constexpr int kFormatVersion = 1;
constexpr int kPageBytes = 4096;

struct CloseDatabase
{
  void operator()(sqlite3* database) const { sqlite3_close(database); }
};
struct FinishStatement
{
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinishStatement>;

absl::Status damaged(const std::string& file, absl::string_view what)
{
  return absl::DataLossError(
      absl::StrCat("store ", file, " is damaged (", what, "); stop the coordinator, restore the ",
                   "file with its -wal from a copy, or move both away and run `spillway adopt` ",
                   "for each job that still runs"));
}

absl::Status translate(sqlite3* database, const std::string& file, int code)
{
  const std::string what = sqlite3_errmsg(database);
  const int system_error = sqlite3_system_errno(database);
  switch (code & 0xff)
  {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(
          absl::StrCat("store ", file, ": no room left (", what, "); free disk space"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return damaged(file, what);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
      return absl::FailedPreconditionError(absl::StrCat(
          "store ", file, " cannot be opened for writing (", what,
          system_error != 0 ? absl::StrCat(", ", std::strerror(system_error)) : std::string(),
          "); check that its folder exists and that this user may write there"));
    default:
      break;
  }
  if (system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG)
    return absl::ResourceExhaustedError(absl::StrCat("store ", file, ": no room left (",
                                                     std::strerror(system_error),
                                                     "); free disk space or raise the limit"));
  return absl::UnavailableError(absl::StrCat("store ", file, ": ", what, " (SQLite code ", code,
                                             ", ", std::strerror(system_error), ")"));
}

class SqliteStore final : public Store
{
 public:
  SqliteStore(Database database, std::string file)
      : database_(std::move(database)), file_(std::move(file))
  {
  }

  // Settings, then our mark, then the tables. Nothing is written to a file that is not ours.
  absl::Status prepare(const SqliteStoreOptions& options)
  {
    sqlite3_busy_timeout(database_.get(), options.busy_timeout_ms);
    SPILLWAY_ASSIGN_OR_RETURN(const std::int64_t application, number("PRAGMA application_id"));
    SPILLWAY_ASSIGN_OR_RETURN(const std::int64_t version, number("PRAGMA user_version"));
    SPILLWAY_ASSIGN_OR_RETURN(const std::int64_t tables,
                              number("SELECT count(*) FROM sqlite_master"));
    const bool fresh = application == 0 && version == 0 && tables == 0;
    if (!fresh && application != kApplicationId)
      return absl::FailedPreconditionError(
          absl::StrCat("file ", file_, " is a database of another program; name another file"));
    if (!fresh && version != kFormatVersion)
      return absl::FailedPreconditionError(absl::StrCat(
          "store ", file_, " has format ", version, ", this program reads format ", kFormatVersion,
          "; use the version of Spillway that wrote it, or name another file"));
    if (!fresh) SPILLWAY_RETURN_IF_ERROR(check_pages());
    SPILLWAY_RETURN_IF_ERROR(execute("PRAGMA journal_mode=WAL"));
    SPILLWAY_RETURN_IF_ERROR(execute("PRAGMA synchronous=FULL"));
    SPILLWAY_RETURN_IF_ERROR(execute("PRAGMA cell_size_check=ON"));
    if (options.size_bytes_max > 0)
      SPILLWAY_RETURN_IF_ERROR(
          execute(absl::StrCat("PRAGMA max_page_count=",
                               std::max<std::uint64_t>(1, options.size_bytes_max / kPageBytes))));
    if (fresh) return create_tables();
    return absl::OkStatus();
  }

  absl::StatusOr<Term> begin_term() override
  {
    Term term;
    SPILLWAY_RETURN_IF_ERROR(transaction([&]() -> absl::Status {
      SPILLWAY_ASSIGN_OR_RETURN(term, current_term());
      term = term.next();
      const std::string value = absl::StrCat(term.value());
      return put("INSERT OR REPLACE INTO leader(id, record, checksum) VALUES(?1, ?2, ?3)", "term",
                 value);
    }));
    return term;
  }

  absl::Status write(Term term, const std::string& job, absl::string_view record) override
  {
    return transaction([&]() -> absl::Status {
      SPILLWAY_RETURN_IF_ERROR(still_leads(term, job));
      return put("INSERT OR REPLACE INTO job(id, record, checksum) VALUES(?1, ?2, ?3)", job,
                 record);
    });
  }

  absl::Status erase(Term term, const std::string& job) override
  {
    return transaction([&]() -> absl::Status {
      SPILLWAY_RETURN_IF_ERROR(still_leads(term, job));
      SPILLWAY_ASSIGN_OR_RETURN(Statement statement, compile("DELETE FROM job WHERE id = ?1"));
      bind_text(statement.get(), 1, job);
      return finish(statement.get());
    });
  }

  absl::StatusOr<std::optional<std::string>> load(const std::string& job) override
  {
    return get("SELECT record, checksum FROM job WHERE id = ?1", job);
  }

  absl::StatusOr<std::vector<std::string>> list_jobs() override
  {
    SPILLWAY_ASSIGN_OR_RETURN(Statement statement, compile("SELECT id FROM job ORDER BY id"));
    std::vector<std::string> names;
    int code = sqlite3_step(statement.get());
    for (; code == SQLITE_ROW; code = sqlite3_step(statement.get()))
      names.push_back(column_bytes(statement.get(), 0));
    if (code != SQLITE_DONE) return translate(database_.get(), file_, code);
    return names;
  }

  std::string description() const override { return file_; }

 private:
  absl::Status check_pages()
  {
    SPILLWAY_ASSIGN_OR_RETURN(Statement statement, compile("PRAGMA quick_check(1)"));
    const int code = sqlite3_step(statement.get());
    if (code != SQLITE_ROW) return translate(database_.get(), file_, code);
    const std::string verdict = column_bytes(statement.get(), 0);
    if (verdict != "ok") return damaged(file_, verdict);
    return absl::OkStatus();
  }

  absl::Status create_tables()
  {
    return transaction([&]() -> absl::Status {
      for (const std::string& sql :
           {absl::StrCat("PRAGMA application_id=", kApplicationId),
            absl::StrCat("PRAGMA user_version=", kFormatVersion),
            std::string("CREATE TABLE IF NOT EXISTS leader("
                        "id TEXT PRIMARY KEY, record BLOB NOT NULL, checksum INTEGER NOT NULL)"),
            std::string("CREATE TABLE IF NOT EXISTS job("
                        "id TEXT PRIMARY KEY, record BLOB NOT NULL, checksum INTEGER NOT NULL)")})
        SPILLWAY_RETURN_IF_ERROR(execute(sql));
      return absl::OkStatus();
    });
  }

  absl::StatusOr<Term> current_term()
  {
    SPILLWAY_ASSIGN_OR_RETURN(const std::optional<std::string> text,
                              get("SELECT record, checksum FROM leader WHERE id = ?1", "term"));
    if (!text) return Term();
    std::uint64_t value = 0;
    if (!absl::SimpleAtoi(*text, &value)) return damaged(file_, "the term is no number");
    return Term(value);
  }

  absl::Status still_leads(Term term, const std::string& job)
  {
    SPILLWAY_ASSIGN_OR_RETURN(const Term newest, current_term());
    if (term >= newest) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("job ", job, ": term ", term.value(), " has ended, another coordinator ",
                     "leads store ", file_, " under term ", newest.value()));
  }

  // IMMEDIATE takes the write lock before the term is read: nobody can take over in between.
  template <typename Body>
  absl::Status transaction(const Body& body)
  {
    SPILLWAY_RETURN_IF_ERROR(execute("BEGIN IMMEDIATE"));
    absl::Status status = body();
    if (status.ok()) status = execute("COMMIT");
    // Some failures (a full disk, for one) have rolled back already.
    if (!status.ok() && sqlite3_get_autocommit(database_.get()) == 0)
    {
      if (absl::Status undo = execute("ROLLBACK"); !undo.ok()) return annotate(undo, "rollback");
    }
    return status;
  }

  absl::Status put(const char* sql, absl::string_view id, absl::string_view record)
  {
    SPILLWAY_ASSIGN_OR_RETURN(Statement statement, compile(sql));
    bind_text(statement.get(), 1, id);
    const char* bytes = record.empty() ? "" : record.data();
    sqlite3_bind_blob64(statement.get(), 2, bytes, record.size(), SQLITE_TRANSIENT);
    sqlite3_bind_int64(statement.get(), 3, static_cast<std::int64_t>(record_checksum(id, record)));
    return finish(statement.get());
  }

  absl::StatusOr<std::optional<std::string>> get(const char* sql, absl::string_view id)
  {
    SPILLWAY_ASSIGN_OR_RETURN(Statement statement, compile(sql));
    bind_text(statement.get(), 1, id);
    const int code = sqlite3_step(statement.get());
    if (code == SQLITE_DONE) return std::optional<std::string>();
    if (code != SQLITE_ROW) return translate(database_.get(), file_, code);
    std::string record = column_bytes(statement.get(), 0);
    const auto checksum = static_cast<std::uint64_t>(sqlite3_column_int64(statement.get(), 1));
    if (checksum != record_checksum(id, record))
      return damaged(file_, absl::StrCat("the record of ", id, " does not match its checksum"));
    return std::optional<std::string>(std::move(record));
  }

  absl::StatusOr<Statement> compile(const std::string& sql)
  {
    sqlite3_stmt* statement = nullptr;
    const int code = sqlite3_prepare_v2(database_.get(), sql.c_str(), -1, &statement, nullptr);
    if (code != SQLITE_OK) return translate(database_.get(), file_, code);
    return Statement(statement);
  }

  absl::Status finish(sqlite3_stmt* statement)
  {
    int code = sqlite3_step(statement);
    while (code == SQLITE_ROW) code = sqlite3_step(statement);
    if (code != SQLITE_DONE) return translate(database_.get(), file_, code);
    return absl::OkStatus();
  }

  absl::Status execute(const std::string& sql)
  {
    SPILLWAY_ASSIGN_OR_RETURN(Statement statement, compile(sql));
    return finish(statement.get());
  }

  absl::StatusOr<std::int64_t> number(const std::string& sql)
  {
    SPILLWAY_ASSIGN_OR_RETURN(Statement statement, compile(sql));
    const int code = sqlite3_step(statement.get());
    if (code != SQLITE_ROW) return translate(database_.get(), file_, code);
    return sqlite3_column_int64(statement.get(), 0);
  }

  static void bind_text(sqlite3_stmt* statement, int index, absl::string_view text)
  {
    sqlite3_bind_text(statement, index, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
  }

  static std::string column_bytes(sqlite3_stmt* statement, int column)
  {
    const void* bytes = sqlite3_column_blob(statement, column);
    const int size = sqlite3_column_bytes(statement, column);
    if (bytes == nullptr || size <= 0) return {};
    return std::string(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
  }

  Database database_;
  std::string file_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> open_sqlite_store(const std::filesystem::path& file,
                                                         const SqliteStoreOptions& options)
{
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (options.create ? SQLITE_OPEN_CREATE : 0);
  sqlite3* opened = nullptr;
  const int code = sqlite3_open_v2(file.c_str(), &opened, flags, nullptr);
  Database database(opened);
  if (code != SQLITE_OK)
  {
    if (opened == nullptr) return absl::ResourceExhaustedError("no memory to open the store");
    return translate(opened, file.string(), code);
  }
  auto store = std::make_unique<SqliteStore>(std::move(database), file.string());
  SPILLWAY_RETURN_IF_ERROR(store->prepare(options));
  return store;
}

}  // namespace spillway::coordinator
