// SPDX-License-Identifier: Apache-2.0
#include "control_word.h"

#include <algorithm>
#include <cstring>

#include "spillway/base/check.h"

namespace spillway::engine {

struct TotalsCodec::Head
{
  double weight = 0;
  double loss_sum = 0;
  std::uint64_t samples = 0;
  std::uint32_t veto = 0;
  std::uint32_t overflow = 0;
};

std::size_t TotalsCodec::record_bytes() const
{
  return sizeof(Head) + words_ * sizeof(std::uint64_t);
}

void TotalsCodec::encode(const StepContribution* contribution, MutableByteSpan record) const
{
  SPILLWAY_CHECK(record.size() == record_bytes());
  std::memset(record.data(), 0, record.size());
  if (contribution == nullptr) return;
  const Head head{.weight = contribution->weight,
                  .loss_sum = contribution->loss_sum,
                  .samples = contribution->samples,
                  .veto = contribution->veto ? 1u : 0u,
                  .overflow = contribution->overflow ? 1u : 0u};
  std::memcpy(record.data(), &head, sizeof(head));
  std::byte* bits = record.data() + sizeof(head);
  if (contribution->used_parameters.empty())
    std::memset(bits, 0xff, words_ * sizeof(std::uint64_t));
  else
    std::memcpy(bits, contribution->used_parameters.data(), words_ * sizeof(std::uint64_t));
}

StepTotals TotalsCodec::fold(const StepName& name, std::uint32_t members, ByteSpan records) const
{
  StepTotals totals;
  totals.name = name;
  totals.members = members;
  totals.used_parameters.assign(words_, 0);
  for (std::uint32_t rank = 0; rank < members; ++rank)
  {
    const std::byte* record = records.data() + rank * record_bytes();
    Head head;
    std::memcpy(&head, record, sizeof(head));
    totals.weight += head.weight;
    totals.loss_sum += head.loss_sum;
    totals.samples += head.samples;
    totals.veto = totals.veto || head.veto != 0;
    totals.overflow = totals.overflow || head.overflow != 0;
    for (std::uint64_t i = 0; i < words_; ++i)
    {
      std::uint64_t word = 0;
      std::memcpy(&word, record + sizeof(head) + i * sizeof(word), sizeof(word));
      totals.used_parameters[i] |= word;
    }
  }
  return totals;
}

Word fold_votes(absl::Span<const Vote> votes)
{
  Word word{.min_prepared = Number(votes.front().prepared),
            .max_prepared = Number(votes.front().prepared)};
  for (const Vote& vote : votes)
  {
    word.min_prepared = std::min(word.min_prepared, Number(vote.prepared));
    word.max_prepared = std::max(word.max_prepared, Number(vote.prepared));
    word.stop = word.stop || vote.wants_stop != 0;
  }
  return word;
}

ReplicaVerdict compare_replicas(absl::Span<const Vote> votes)
{
  ReplicaVerdict verdict;
  std::size_t most = 0;
  std::uint64_t majority = 0;
  std::size_t counted = 0;
  for (const Vote& vote : votes)
  {
    if (vote.hash_valid == 0) continue;
    ++counted;
    std::size_t same = 0;
    for (const Vote& other : votes)
      if (other.hash_valid != 0 && other.state_hash == vote.state_hash) ++same;
    if (same <= most) continue;
    most = same;
    majority = vote.state_hash;
  }
  if (most == counted) return verdict;
  verdict.agree = false;
  verdict.majority = 2 * most > counted;
  for (std::uint32_t rank = 0; rank < votes.size(); ++rank)
    if (votes[rank].hash_valid != 0 && (!verdict.majority || votes[rank].state_hash != majority))
      verdict.culprits.push_back(rank);
  return verdict;
}

}  // namespace spillway::engine
