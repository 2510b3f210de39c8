// SPDX-License-Identifier: Apache-2.0
// Coordinator, agent and workers over real sockets, in one process.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "one_job.h"
#include "recording_worker.h"
#include "spillway/base/check.h"
#include "spillway/coordinator/agent_client.h"
#include "spillway/coordinator/agent_relay.h"
#include "spillway/coordinator/server.h"

namespace spillway::coordinator {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

// A folder for sockets, gone at the end.
class Folder
{
 public:
  Folder() { SPILLWAY_CHECK(mkdtemp(path_.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_ = "/tmp/spillway-test-XXXXXX";
};

// A node whose workers and coordinator are reached over sockets.
class SocketNode final : public InProcessNode
{
 public:
  SocketNode(std::string path, NodeHello hello, NodeCallbacks callbacks = {})
      : path_(std::move(path)), session_(std::move(hello), std::move(callbacks))
  {
    relay_ = *AgentRelay::listen(path_, session_);
  }
  absl::Status connect(const std::string& address, milliseconds timeout = milliseconds(30000))
  {
    AgentClientOptions options;
    options.address = address;
    options.connect_timeout = timeout;
    auto client = AgentClient::connect(options, session_, system_clock());
    if (client.ok()) client_ = *std::move(client);
    return client.status();
  }
  std::unique_ptr<ControlLink> make_link() override
  {
    return make_worker_link(path_, system_clock());
  }
  NodeSession& session() override { return session_; }
  void disconnect() override { client_ = nullptr; }
  void reconnect(JobRunner&) override {}
  void close_relay() { relay_ = nullptr; }

 private:
  const std::string path_;
  NodeSession session_;
  std::unique_ptr<AgentRelay> relay_;
  std::unique_ptr<AgentClient> client_;
};

NodeHello hello_of_two()
{
  NodeHello hello = node_hello(2);
  hello.session = 42;
  return hello;
}

class Streams : public ::testing::Test
{
 protected:
  void open(const std::string& address)
  {
    job_ = std::make_unique<OneJob>(disk_, RunnerOptions());
    auto server = Server::listen({{address}, false}, *job_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  void close()
  {
    server_ = nullptr;
    job_ = nullptr;
  }
  Folder folder_;
  std::shared_ptr<MemoryDisk> disk_ = make_memory_disk();
  std::unique_ptr<OneJob> job_;
  std::unique_ptr<Server> server_;
};

TEST_F(Streams, WorkersMeetLoseOneAndFormTheNextEpoch)
{
  open("127.0.0.1:0");
  SocketNode node(folder_.file("agent.sock"), hello_of_two());
  ASSERT_TRUE(node.connect(server_->addresses()[0]).ok());
  RecordingWorker a(node, system_clock(), 101), b(node, system_clock(), 102);
  ASSERT_TRUE(a.enter().ok());
  ASSERT_TRUE(b.enter().ok());
  const auto first_a = a.wait_for<EpochAnnouncement>();
  const auto first_b = b.wait_for<EpochAnnouncement>();
  ASSERT_TRUE(first_a && first_b);
  EXPECT_EQ(first_a->members.added.size(), 2U);
  a.install(*first_a);
  b.install(*first_b);

  const MonotonicTime killed = system_clock().now();
  node.session().report_exited(102, {0, 9, ""});
  const auto abort = a.wait_for<Abort>();
  ASSERT_TRUE(abort);
  const MonotonicTime aborted = system_clock().now();
  a.promise(abort->name.job_epoch);
  const auto second = a.wait_for<EpochAnnouncement>();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->members.removed, std::vector<WorkerId>{b.id()});
  const auto us = [](Duration span) { return span / std::chrono::microseconds(1); };
  std::printf("exit reported to abort heard: %ld us, to the next epoch heard: %ld us\n",
              static_cast<long>(us(aborted - killed)),
              static_cast<long>(us(system_clock().now() - killed)));
}

TEST_F(Streams, ACoordinatorThatComesBackIsFoundAgain)
{
  const std::string address = absl::StrCat("unix:", folder_.file("coordinator.sock"));
  open(address);
  SocketNode node(folder_.file("agent.sock"), hello_of_two());
  ASSERT_TRUE(node.connect(address).ok());
  RecordingWorker a(node, system_clock(), 101);
  ASSERT_TRUE(a.enter().ok());
  ASSERT_TRUE(a.wait_until([&] { return a.ups() == 1; }));
  close();
  ASSERT_TRUE(a.wait_until([&] { return a.downs() == 1; }));
  EXPECT_EQ(a.why().code(), absl::StatusCode::kUnavailable);
  open(address);
  ASSERT_TRUE(a.wait_until([&] { return a.ups() == 2; }));
  ASSERT_TRUE(a.wait_until([&] { return a.acknowledged() != MonotonicTime(); }));
}

TEST_F(Streams, TheFarewellArrivesBeforeTheClientEnds)
{
  open("127.0.0.1:0");
  SocketNode node(folder_.file("agent.sock"), hello_of_two());
  ASSERT_TRUE(node.connect(server_->addresses()[0]).ok());
  EXPECT_EQ((*job_->job("mnist"))->report()->nodes.size(), 1U);
  node.session().farewell({false, "the test is over", {}});
  node.disconnect();
  EXPECT_EQ((*job_->job("mnist"))->report()->nodes.size(), 0U);
}

TEST_F(Streams, NobodyThereIsSaidWithAddressAndAttempts)
{
  SocketNode node(folder_.file("agent.sock"), hello_of_two());
  const absl::Status status = node.connect("127.0.0.1:1", milliseconds(400));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.1:1: tried "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("refused"));
}

TEST_F(Streams, AListenerThatSaysNothingIsGivenUp)
{
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd, 5), 0);
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  SocketNode node(folder_.file("agent.sock"), hello_of_two());
  const MonotonicTime began = system_clock().now();
  const absl::Status status =
      node.connect(absl::StrCat("127.0.0.1:", ntohs(address.sin_port)), milliseconds(500));
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_LT(system_clock().now() - began, std::chrono::seconds(5));
  ::close(fd);
}

TEST_F(Streams, WaitingEndsWhenTheCallerGivesUp)
{
  NodeSession session(hello_of_two(), {});
  AgentClientOptions options;
  options.address = "127.0.0.1:1";
  options.give_up = [] { return true; };
  EXPECT_EQ(AgentClient::connect(options, session, system_clock()).status().code(),
            absl::StatusCode::kCancelled);
}

TEST_F(Streams, ADamagedRecordRefusesTheNode)
{
  open("127.0.0.1:0");
  NodeHello hello = hello_of_two();
  hello.job = "damaged";
  SocketNode node(folder_.file("agent.sock"), hello);
  const absl::Status status = node.connect(server_->addresses()[0]);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
}

TEST_F(Streams, OnlyLoopbackIsBoundAndNoPortTwice)
{
  open("127.0.0.1:0");
  const auto open_door = Server::listen({{"0.0.0.0:0"}, false}, *job_);
  EXPECT_EQ(open_door.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(open_door.status().message()), HasSubstr("--insecure"));
  const auto second = Server::listen({server_->addresses(), false}, *job_);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable) << second.status();
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("in use"));
  EXPECT_EQ(Server::listen({{"nonsense"}, false}, *job_).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(Streams, OperatorsAskAndAreToldWhatIsWrong)
{
  open("127.0.0.1:0");
  SocketNode node(folder_.file("agent.sock"), hello_of_two());
  ASSERT_TRUE(node.connect(server_->addresses()[0]).ok());
  ControlClient client(server_->addresses()[0], std::chrono::seconds(20));
  const auto report = client.report("");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->job, "mnist");
  ASSERT_EQ(report->nodes.size(), 1U);
  EXPECT_EQ(report->nodes[0].host, "alpha");
  EXPECT_EQ(client.report("other").status().code(), absl::StatusCode::kFailedPrecondition);
  const auto jobs = client.list_jobs();
  ASSERT_TRUE(jobs.ok() && jobs->size() == 1);
  EXPECT_EQ((*jobs)[0].lineage, Lineage(7));
  EXPECT_EQ(client.abandon_worker("", WorkerId(9), "").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(client.abandon_node("", NodeId(9), "").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(client.adopt("", Lineage(9)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(client.end("", "enough").ok());
  EXPECT_NE((*job_->job("mnist"))->report()->ended, "");
  ControlClient nobody("127.0.0.1:1", std::chrono::seconds(5));
  const absl::Status status = nobody.report("").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("127.0.0.1:1"));
}

TEST_F(Streams, WhatWasHeardOfAWorkerIsWaitedFor)
{
  int registered = 0;  // written by the session's thread, read after its callbacks have returned
  NodeCallbacks callbacks;
  callbacks.on_worker_registered = [&](LinkId, const WorkerHello&) { ++registered; };
  NodeSession session(hello_of_two(), callbacks);
  for (int i = 1; i <= 200; ++i)
  {
    const LinkId link = session.open_link([](const WorkerOrder&) {});
    session.from_worker(link, worker_hello(i));
    session.wait_for_callbacks(kSoon);
    ASSERT_EQ(registered, i);
  }
}

TEST_F(Streams, AWorkersSocketIsItsUsersAlone)
{
  const std::string path = folder_.file("agent.sock");
  SocketNode node(path, hello_of_two());
  struct stat about = {};
  ASSERT_EQ(stat(path.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777U, 0600U);
  NodeSession session(hello_of_two(), {});
  EXPECT_EQ(AgentRelay::listen(std::string(200, 'x'), session).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(Streams, AWorkerWithoutAnAgentIsToldSoon)
{
  const auto link = make_worker_link(folder_.file("nobody.sock"), system_clock());
  link->start({});
  const auto welcome =
      link->register_worker(worker_hello(1), deadline_after(system_clock().now(), kSoon));
  EXPECT_EQ(welcome.status().code(), absl::StatusCode::kUnavailable) << welcome.status();
}

TEST_F(Streams, RegisteringWithoutACoordinatorEndsAtItsDeadlineAndMayBeRepeated)
{
  SocketNode node(folder_.file("agent.sock"), hello_of_two());
  RecordingWorker a(node, system_clock(), 101);
  const auto late =
      a.link().register_worker(a.hello, deadline_after(system_clock().now(), milliseconds(200)));
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded) << late.status();
  open("127.0.0.1:0");
  ASSERT_TRUE(node.connect(server_->addresses()[0]).ok());
  EXPECT_TRUE(a.enter().ok());
}

TEST_F(Streams, AnAgentThatDiesIsOverForGood)
{
  open("127.0.0.1:0");
  SocketNode node(folder_.file("agent.sock"), hello_of_two());
  ASSERT_TRUE(node.connect(server_->addresses()[0]).ok());
  RecordingWorker a(node, system_clock(), 101);
  ASSERT_TRUE(a.enter().ok());
  node.close_relay();
  ASSERT_TRUE(a.wait_until([&] { return a.downs() == 1; }));
  EXPECT_EQ(a.why().code(), absl::StatusCode::kAborted) << a.why();
}

}  // namespace
}  // namespace spillway::coordinator
