// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace spillway::coordinator {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

WorkerHello good_worker()
{
  WorkerHello hello;
  hello.job = "mnist";
  hello.lineage = Lineage(77);
  hello.slot = 2;
  hello.pid = 4711;
  hello.host = "alpha";
  hello.peer_address = "127.0.0.1:5000";
  hello.spec.tensors = {{"fc.weight", "float32", {256, 784}}, {"fc.bias", "float32", {256}}};
  hello.spec.terms = {"data seed 5", "bucket 0 of 60 fp32"};
  hello.spec.hash = 0xabc;
  hello.spec.global_batch = 64;
  hello.spec.data_set_size = 60000;
  hello.spec.arithmetic_class = "cpu avx2 threads=1";
  return hello;
}

AdmissionRule rule()
{
  return {.job = "mnist",
          .lineage = Lineage(77),
          .spec = good_worker().spec,
          .spec_owner = WorkerId(1),
          .options = JobOptions{.nodes_min = 1, .nodes_max = 4}};
}

void expect_refused(const WorkerHello& hello, absl::StatusCode code,
                    const std::vector<std::string>& parts)
{
  const absl::Status status = admit_worker(rule(), hello);
  EXPECT_EQ(status.code(), code) << status;
  for (const std::string& part : parts) EXPECT_THAT(std::string(status.message()), HasSubstr(part));
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kPrecondition = absl::StatusCode::kFailedPrecondition;

TEST(AdmissionTest, AdmitsAnEqualWorkerAndTheFirstOne)
{
  EXPECT_TRUE(admit_worker(rule(), good_worker()).ok());
  AdmissionRule first{.job = "mnist", .lineage = {}, .spec = {}, .spec_owner = {}, .options = {}};
  EXPECT_TRUE(admit_worker(first, good_worker()).ok());
  WorkerHello without_lineage = good_worker();
  without_lineage.lineage = Lineage();
  EXPECT_TRUE(admit_worker(rule(), without_lineage).ok());
}

TEST(AdmissionTest, RefusesAnotherJobOrLineage)
{
  WorkerHello other_job = good_worker();
  other_job.job = "cifar";
  expect_refused(other_job, kPrecondition, {"'cifar'", "'mnist'", "slot 2 on alpha", "--rdzv-id"});
  WorkerHello other_life = good_worker();
  other_life.lineage = Lineage(78);
  expect_refused(other_life, kPrecondition, {"78", "77", "lineage"});
}

TEST(AdmissionTest, RefusesAnotherProtocol)
{
  WorkerHello hello = good_worker();
  hello.protocol_version = kProtocolVersion + 1;
  hello.program_version = "9.9.9";
  expect_refused(hello, kInvalid, {"9.9.9", kProgramVersion, "install one version"});
}

TEST(AdmissionTest, RefusesAnotherArithmeticClass)
{
  WorkerHello hello = good_worker();
  hello.spec.arithmetic_class = "cpu avx512 threads=1";
  expect_refused(hello, kInvalid, {"avx512", "avx2", "ATEN_CPU_CAPABILITY"});
}

TEST(AdmissionTest, NamesTheFirstDifferenceOfTwoModels)
{
  WorkerHello shape = good_worker();
  shape.spec.tensors[0].shape = {128, 784};
  expect_refused(shape, kInvalid,
                 {"worker 1", "tensor 0", "fc.weight float32 [128,784] here",
                  "fc.weight float32 [256,784] there"});
  WorkerHello name = good_worker();
  name.spec.tensors[1].name = "fc.shift";
  expect_refused(name, kInvalid, {"tensor 1", "fc.shift", "fc.bias"});
  WorkerHello more = good_worker();
  more.spec.tensors.push_back({"out", "float32", {}});
  expect_refused(more, kInvalid, {"tensor 2", "out float32 [] here, nothing there", "3 tensors"});
  WorkerHello fewer = good_worker();
  fewer.spec.tensors.pop_back();
  expect_refused(fewer, kInvalid, {"tensor 1: nothing here, fc.bias"});
}

TEST(AdmissionTest, RefusesOtherHyperparameters)
{
  WorkerHello hash = good_worker();
  hash.spec.hash = 0xdef;
  expect_refused(hash, kInvalid, {"kinds or sizes", "def", "abc"});
  hash.spec.terms = {"data seed 5", "bucket 0 of 60 bf16"};
  expect_refused(hash, kInvalid, {"bucket 0 of 60 bf16 here, bucket 0 of 60 fp32 there"});
  hash.spec.terms.pop_back();
  expect_refused(hash, kInvalid, {"nothing more here, bucket 0 of 60 fp32 there"});
  WorkerHello batch = good_worker();
  batch.spec.global_batch = 128;
  expect_refused(batch, kInvalid, {"global batch is 128 here, 64 there"});
  WorkerHello data = good_worker();
  data.spec.data_set_size = 50000;
  expect_refused(data, kInvalid, {"50000", "60000"});
}

TEST(AdmissionTest, RefusesADataSetSmallerThanABatch)
{
  WorkerHello hello = good_worker();
  hello.spec.data_set_size = 63;
  expect_refused(hello, kInvalid, {"63 samples", "needs 64", "smaller batch"});
}

TEST(AdmissionTest, RefusesWhatNobodyCouldUse)
{
  WorkerHello nowhere = good_worker();
  nowhere.peer_address.clear();
  expect_refused(nowhere, kInvalid, {"no address"});
  WorkerHello weightless = good_worker();
  weightless.weight = 0;
  expect_refused(weightless, kInvalid, {"weight 0"});
}

TEST(AdmissionTest, ChecksAgentsToo)
{
  NodeHello node;
  node.job = "mnist";
  node.host = "beta";
  node.slots = 2;
  node.options.nodes_max = 4;
  EXPECT_TRUE(admit_node(rule(), node).ok()) << admit_node(rule(), node);
  NodeHello other_range = node;
  other_range.options.nodes_max = 3;
  EXPECT_THAT(std::string(admit_node(rule(), other_range).message()),
              AllOf(HasSubstr("1:3"), HasSubstr("1:4")));
  NodeHello reversed = node;
  reversed.options.nodes_min = 4;
  reversed.options.nodes_max = 2;
  EXPECT_EQ(admit_node(rule(), reversed).code(), kInvalid);
  NodeHello idle = node;
  idle.slots = 0;
  EXPECT_THAT(std::string(admit_node(rule(), idle).message()), HasSubstr("--nproc-per-node"));
  NodeHello old_program = node;
  old_program.protocol_version = 0;
  EXPECT_EQ(admit_node(rule(), old_program).code(), kInvalid);
}

}  // namespace
}  // namespace spillway::coordinator
