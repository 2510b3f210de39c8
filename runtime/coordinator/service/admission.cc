// SPDX-License-Identifier: Apache-2.0
#include "spillway/coordinator/admission.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "spillway/base/status.h"

namespace spillway::coordinator {
namespace {

std::string describe(const TensorSpec& tensor)
{
  return absl::StrCat(tensor.name, " ", tensor.type, " [", absl::StrJoin(tensor.shape, ","), "]");
}

absl::Status check_version(std::uint32_t protocol, const std::string& program,
                           const std::string& who)
{
  if (protocol == kProtocolVersion) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      who, " runs Spillway ", program, " (protocol ", protocol, "), the coordinator runs ",
      kProgramVersion, " (protocol ", kProtocolVersion, "); install one version on all nodes"));
}

absl::Status check_job(const AdmissionRule& rule, const std::string& job, Lineage lineage,
                       const std::string& who)
{
  if (job != rule.job)
    return absl::FailedPreconditionError(
        absl::StrCat(who, " belongs to job '", job, "', this is job '", rule.job,
                     "'; start it with --rdzv-id=", rule.job, " or name its own coordinator"));
  if (lineage && rule.lineage && lineage != rule.lineage)
    return absl::FailedPreconditionError(
        absl::StrCat(who, " belongs to another life of job '", job, "' (lineage ", lineage.value(),
                     ", here it is ", rule.lineage.value(),
                     "): its state cannot be mixed in; stop that process and let a new one join"));
  return absl::OkStatus();
}

}  // namespace

std::string first_difference(const std::vector<TensorSpec>& here,
                             const std::vector<TensorSpec>& there)
{
  const std::size_t both = std::min(here.size(), there.size());
  for (std::size_t i = 0; i < both; ++i)
    if (here[i] != there[i])
      return absl::StrCat("tensor ", i, ": ", describe(here[i]), " here, ", describe(there[i]),
                          " there");
  if (here.size() > both)
    return absl::StrCat("tensor ", both, ": ", describe(here[both]), " here, nothing there (",
                        here.size(), " tensors here, ", there.size(), " there)");
  if (there.size() > both)
    return absl::StrCat("tensor ", both, ": nothing here, ", describe(there[both]), " there (",
                        here.size(), " tensors here, ", there.size(), " there)");
  return {};
}

std::string first_difference(const std::vector<std::string>& here,
                             const std::vector<std::string>& there)
{
  const auto [mine, other] = std::mismatch(here.begin(), here.end(), there.begin(), there.end());
  if (mine == here.end() && other == there.end()) return {};
  return absl::StrCat(mine == here.end() ? "nothing more" : *mine, " here, ",
                      other == there.end() ? "nothing more" : *other, " there");
}

absl::Status admit_worker(const AdmissionRule& rule, const WorkerHello& hello)
{
  const std::string who =
      absl::StrCat("worker in slot ", hello.slot, " on ", hello.host, " (pid ", hello.pid, ")");
  SPILLWAY_RETURN_IF_ERROR(check_version(hello.protocol_version, hello.program_version, who));
  SPILLWAY_RETURN_IF_ERROR(check_job(rule, hello.job, hello.lineage, who));
  if (hello.peer_address.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("job ", rule.job, ": ", who, " names no address for its peers"));
  if (hello.weight == 0)
    return absl::InvalidArgumentError(
        absl::StrCat("job ", rule.job, ": ", who, " has weight 0; weights start at 1"));
  const JobSpec& spec = hello.spec;
  if (spec.global_batch > 0 && spec.data_set_size < spec.global_batch)
    return absl::InvalidArgumentError(absl::StrCat(
        "job ", rule.job, ": ", who, " has a data set of ", spec.data_set_size,
        " samples, one batch needs ", spec.global_batch, "; use a smaller batch or more data"));
  if (!rule.spec) return absl::OkStatus();

  const std::string there = absl::StrCat("worker ", rule.spec_owner.value());
  const std::string where = absl::StrCat("job ", rule.job, ": ", who, " does not match ", there);
  if (std::string difference = first_difference(spec.tensors, rule.spec->tensors);
      !difference.empty())
    return absl::InvalidArgumentError(absl::StrCat(where, ": the models differ: ", difference,
                                                   "; start every worker with one program"));
  if (spec.global_batch != rule.spec->global_batch)
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": the global batch is ", spec.global_batch, " here, ",
                     rule.spec->global_batch, " there; start every worker with the same options"));
  if (spec.data_set_size != rule.spec->data_set_size)
    return absl::InvalidArgumentError(absl::StrCat(where, ": the data set has ", spec.data_set_size,
                                                   " samples here, ", rule.spec->data_set_size,
                                                   " there; give every node the same data"));
  if (spec.arithmetic_class != rule.spec->arithmetic_class)
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": arithmetic class '", spec.arithmetic_class, "' here, '",
        rule.spec->arithmetic_class, "' there would not give equal bits; use equal devices, ",
        "libtorch builds, CPU capability and thread counts (ATEN_CPU_CAPABILITY and ",
        "OMP_NUM_THREADS set the last two)"));
  if (spec.hash == rule.spec->hash) return absl::OkStatus();
  if (std::string difference = first_difference(spec.terms, rule.spec->terms); !difference.empty())
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": ", difference, "; start every worker with the same options"));
  return absl::InvalidArgumentError(absl::StrCat(
      where, ": the kinds or sizes of its registered state differ (", absl::Hex(spec.hash),
      " here, ", absl::Hex(rule.spec->hash), " there); start every worker with one program"));
}

absl::Status admit_node(const AdmissionRule& rule, const NodeHello& hello)
{
  const std::string who = absl::StrCat("agent on ", hello.host, " (pid ", hello.pid, ")");
  SPILLWAY_RETURN_IF_ERROR(check_version(hello.protocol_version, hello.program_version, who));
  SPILLWAY_RETURN_IF_ERROR(check_job(rule, hello.job, hello.lineage, who));
  if (hello.slots == 0)
    return absl::InvalidArgumentError(
        absl::StrCat("job ", rule.job, ": ", who, " offers no worker; use --nproc-per-node"));
  if (hello.options.nodes_min == 0 || hello.options.nodes_min > hello.options.nodes_max)
    return absl::InvalidArgumentError(
        absl::StrCat("job ", rule.job, ": ", who, " asks for ", hello.options.nodes_min, ":",
                     hello.options.nodes_max, " nodes; --nnodes is MIN:MAX with 1 <= MIN <= MAX"));
  if (rule.options && (rule.options->nodes_min != hello.options.nodes_min ||
                       rule.options->nodes_max != hello.options.nodes_max))
    return absl::InvalidArgumentError(absl::StrCat(
        "job ", rule.job, ": ", who, " asks for --nnodes ", hello.options.nodes_min, ":",
        hello.options.nodes_max, ", the job was started with ", rule.options->nodes_min, ":",
        rule.options->nodes_max, "; use the same on every node"));
  return absl::OkStatus();
}

}  // namespace spillway::coordinator
