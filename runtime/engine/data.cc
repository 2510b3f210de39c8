// SPDX-License-Identifier: Apache-2.0
#include "spillway/engine/data.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "spillway/base/check.h"
#include "spillway/base/hash.h"
#include "spillway/base/rng.h"

namespace spillway::engine {
namespace {

constexpr unsigned kFeistelRounds = 4;
// Separate the uses of one job seed from each other.
constexpr std::uint64_t kPermutationStream = 0x7065726d75746174;
constexpr std::uint64_t kSampleStream = 0x73616d706c655f5f;
constexpr std::uint64_t kMicroBatchStream = 0x6d6963726f5f5f5f;

}  // namespace

Permutation::Permutation(std::uint64_t seed, std::uint64_t size) : seed_(seed), size_(size)
{
  SPILLWAY_CHECK(size > 0);
  const unsigned bits = static_cast<unsigned>(std::bit_width(size - 1));
  half_bits_ = std::max(1u, (bits + 1) / 2);
}

std::uint64_t Permutation::encrypt(std::uint64_t value) const
{
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  for (unsigned round = 0; round < kFeistelRounds; ++round)
  {
    const std::uint64_t next = left ^ (philox_u64(seed_, right, round) & mask);
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

std::uint64_t Permutation::decrypt(std::uint64_t value) const
{
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  std::uint64_t left = value >> half_bits_;
  std::uint64_t right = value & mask;
  for (unsigned round = kFeistelRounds; round-- > 0;)
  {
    const std::uint64_t before = right ^ (philox_u64(seed_, left, round) & mask);
    right = left;
    left = before;
  }
  return left << half_bits_ | right;
}

std::uint64_t Permutation::at(std::uint64_t place) const
{
  SPILLWAY_CHECK(place < size_, "place ", place, " of ", size_);
  // The cipher permutes at most 4 * size values, so walking its cycle from a place inside comes
  // back inside, after four tries on average at worst.
  std::uint64_t value = encrypt(place);
  while (value >= size_) value = encrypt(value);
  return value;
}

std::uint64_t Permutation::place_of(std::uint64_t value) const
{
  SPILLWAY_CHECK(value < size_, "value ", value, " of ", size_);
  std::uint64_t place = decrypt(value);
  while (place >= size_) place = decrypt(place);
  return place;
}

DataPlan::DataPlan(DataOptions options) : options_(std::move(options))
{
  for (const DataPart& part : options_.parts) samples_ += part.size;
}

absl::StatusOr<DataPlan> DataPlan::create(DataOptions options)
{
  if (options.parts.empty()) return absl::InvalidArgumentError("the data set has no parts");
  for (const DataPart& part : options.parts)
    if (part.size == 0)
      return absl::InvalidArgumentError(absl::StrCat("data part '", part.name, "' is empty"));
  DataPlan plan(std::move(options));
  const std::uint64_t batch = plan.options_.global_batch;
  if (batch == 0) return absl::InvalidArgumentError("the global batch is 0 samples");
  if (batch > plan.samples_)
    return absl::InvalidArgumentError(absl::StrCat(
        "the data set has ", plan.samples_, " samples, fewer than one global batch of ", batch));
  return plan;
}

// Samples of each part among the first `drawn` of one pass. Sample k of a part of n has the virtual
// time (k + 1/2) / n; samples are drawn in the order of that time, ties to the lower part. The
// largest remainder of the running total would be as fair, but can take a sample back when the
// total grows; this order cannot, and ends every pass even.
std::vector<std::uint64_t> DataPlan::drawn_of_pass(std::uint64_t drawn) const
{
  const std::size_t count = options_.parts.size();
  std::vector<std::uint64_t> used(count);
  std::uint64_t given = 0;
  for (std::size_t i = 0; i < count; ++i)
  {
    const absl::uint128 twice = absl::uint128(2) * drawn * options_.parts[i].size + samples_;
    used[i] = static_cast<std::uint64_t>(twice / (absl::uint128(2) * samples_));
    given += used[i];
  }
  // Rounding every part by itself draws everything up to one virtual time, which is some samples
  // too many or too few: add the earliest, or take back the latest.
  const auto earlier = [&](std::uint64_t twice_a, std::size_t a, std::uint64_t twice_b,
                           std::size_t b) {
    const absl::uint128 left = absl::uint128(twice_a) * options_.parts[b].size;
    const absl::uint128 right = absl::uint128(twice_b) * options_.parts[a].size;
    return left != right ? left < right : a < b;
  };
  const bool adding = given < drawn;
  const auto later_first = [&](std::size_t a, std::size_t b) {
    if (adding) return earlier(2 * used[b] + 1, b, 2 * used[a] + 1, a);
    // A part with nothing drawn has nothing to take back.
    if (used[a] == 0 || used[b] == 0) return used[a] < used[b];
    return earlier(2 * used[a] - 1, a, 2 * used[b] - 1, b);
  };
  std::vector<std::size_t> heap(count);
  std::iota(heap.begin(), heap.end(), std::size_t{0});
  std::make_heap(heap.begin(), heap.end(), later_first);
  while (given != drawn)
  {
    std::pop_heap(heap.begin(), heap.end(), later_first);
    used[heap.back()] += adding ? std::uint64_t{1} : ~std::uint64_t{0};
    given += adding ? std::uint64_t{1} : ~std::uint64_t{0};
    std::push_heap(heap.begin(), heap.end(), later_first);
  }
  return used;
}

std::vector<std::uint64_t> DataPlan::consumed_before(StepId step) const
{
  SPILLWAY_CHECK(step.value() > 0, "step 0 is the initial state and uses no data");
  const absl::uint128 total = absl::uint128(step.value() - 1) * options_.global_batch;
  const auto passes = static_cast<std::uint64_t>(total / samples_);
  std::vector<std::uint64_t> used = drawn_of_pass(static_cast<std::uint64_t>(total % samples_));
  for (std::size_t i = 0; i < used.size(); ++i) used[i] += passes * options_.parts[i].size;
  return used;
}

std::vector<PositionRange> DataPlan::step_positions(StepId step) const
{
  const std::vector<std::uint64_t> from = consumed_before(step);
  const std::vector<std::uint64_t> to = consumed_before(step.next());
  std::vector<PositionRange> ranges;
  for (std::size_t i = 0; i < from.size(); ++i)
    if (from[i] < to[i])
      ranges.push_back({.part = static_cast<std::uint32_t>(i), .begin = from[i], .end = to[i]});
  return ranges;
}

std::vector<PositionRange> DataPlan::slice(StepId step, std::uint64_t begin,
                                           std::uint64_t end) const
{
  SPILLWAY_CHECK(begin <= end && end <= options_.global_batch, "slice ", begin, "..", end, " of ",
                 options_.global_batch);
  std::vector<PositionRange> out;
  std::uint64_t passed = 0;
  for (const PositionRange& range : step_positions(step))
  {
    const std::uint64_t first = std::max(begin, passed);
    const std::uint64_t last = std::min(end, passed + range.size());
    if (first < last)
      out.push_back({.part = range.part,
                     .begin = range.begin + (first - passed),
                     .end = range.begin + (last - passed)});
    passed += range.size();
  }
  return out;
}

std::vector<std::vector<PositionRange>> DataPlan::micro_batches(
    absl::Span<const PositionRange> ranges) const
{
  std::uint64_t samples = 0;
  for (const PositionRange& range : ranges) samples += range.size();
  if (samples == 0) return {};
  const std::uint64_t limit = options_.max_micro_batch == 0 ? samples : options_.max_micro_batch;
  // As many micro-batches as the limit needs, as even as they get.
  const std::uint64_t count = (samples + limit - 1) / limit;
  std::vector<std::vector<PositionRange>> batches(count);
  std::uint64_t index = 0;
  std::uint64_t room = samples / count + (index < samples % count ? 1 : 0);
  for (PositionRange range : ranges)
    while (range.size() > 0)
    {
      const std::uint64_t take = std::min(room, range.size());
      batches[index].push_back(
          {.part = range.part, .begin = range.begin, .end = range.begin + take});
      range.begin += take;
      room -= take;
      if (room > 0 || ++index == count) continue;
      room = samples / count + (index < samples % count ? 1 : 0);
    }
  return batches;
}

std::uint64_t DataPlan::index_at(std::uint32_t part, std::uint64_t position) const
{
  SPILLWAY_CHECK(part < options_.parts.size());
  const std::uint64_t size = options_.parts[part].size;
  return permutation(part, position / size).at(position % size);
}

Permutation DataPlan::permutation(std::uint32_t part, std::uint64_t pass) const
{
  return {philox_u64(options_.seed ^ kPermutationStream, part, pass), options_.parts[part].size};
}

// Of one sample; `next` is the position after the sample before it.
std::uint64_t DataPlan::position_of(std::uint32_t part, std::uint64_t index, std::uint64_t next,
                                    absl::Span<const PositionRange> expected) const
{
  const std::uint64_t size = options_.parts[part].size;
  std::optional<std::uint64_t> found;
  std::uint64_t first_pass = 0;
  for (const PositionRange& range : expected)
  {
    if (range.part != part || range.size() == 0) continue;
    if (!found) first_pass = range.begin / size;
    for (std::uint64_t pass = range.begin / size; pass <= (range.end - 1) / size; ++pass)
    {
      const std::uint64_t position = pass * size + permutation(part, pass).place_of(index);
      if (position < range.begin || position >= range.end) continue;
      if (position == next) return position;
      if (!found) found = position;
    }
  }
  return found ? *found : first_pass * size + permutation(part, first_pass).place_of(index);
}

std::vector<PositionRange> DataPlan::positions_of(absl::Span<const std::int64_t> indices,
                                                  absl::Span<const PositionRange> expected) const
{
  std::vector<PositionRange> found;
  for (const std::int64_t index : indices)
  {
    auto in_part = static_cast<std::uint64_t>(index);
    SPILLWAY_CHECK(in_part < samples_, "sample ", index, " of ", samples_);
    std::uint32_t part = 0;
    for (; in_part >= options_.parts[part].size; ++part) in_part -= options_.parts[part].size;
    const bool goes_on = !found.empty() && found.back().part == part;
    const std::uint64_t next = goes_on ? found.back().end : ~std::uint64_t{0};
    const std::uint64_t position = position_of(part, in_part, next, expected);
    if (position == next)
      ++found.back().end;
    else
      found.push_back({.part = part, .begin = position, .end = position + 1});
  }
  return found;
}

std::uint64_t DataPlan::sample_seed(std::uint32_t part, std::uint64_t position) const
{
  return philox_u64(options_.seed ^ kSampleStream, part, position);
}

std::uint64_t DataPlan::micro_batch_seed(StepId step, const PositionRange& first) const
{
  return philox_u64(options_.seed ^ kMicroBatchStream, step.value(),
                    hash_combine(first.part, first.begin));
}

std::uint64_t DataPlan::steps_per_pass() const
{
  return (samples_ + options_.global_batch - 1) / options_.global_batch;
}

}  // namespace spillway::engine
