// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "blocks_ref.h"
#include "tk_record.h"

namespace spillway::kernels {
namespace {

// The `kept` largest magnitudes, of equal ones the first; ascending.
void select_largest(const float* a, int kept, std::uint16_t* indices)
{
  std::uint16_t order[kTileElements];
  std::iota(order, order + kTileElements, std::uint16_t{0});
  std::partial_sort(order, order + kept, order + kTileElements,
                    [a](std::uint16_t left, std::uint16_t right) {
                      const std::uint32_t l = magnitude_of(a[left]), r = magnitude_of(a[right]);
                      return l != r ? l > r : left < right;
                    });
  std::sort(order, order + kept);
  std::copy_n(order, kept, indices);
}

// Two levels: the means of the kept magnitudes above their mean, and of the others.
void choose_levels(const float* a, int kept, std::uint32_t most, TkRecord& record)
{
  const float factor = mean_factor(most);
  std::uint32_t parts[kMostKept];
  std::uint32_t sum = 0;
  for (int i = 0; i < kept; ++i) sum += parts[i] = mean_part(a[record.indices[i]], factor);
  std::uint32_t upper_sum = 0, upper_count = 0;
  for (int i = 0; i < kept; ++i)
  {
    const bool upper = parts[i] * static_cast<std::uint32_t>(kept) > sum;
    upper_sum += upper ? parts[i] : 0;
    upper_count += upper ? 1 : 0;
    record.codes[i] = static_cast<std::uint8_t>(bits_of(a[record.indices[i]]) >> 31 |
                                                static_cast<std::uint32_t>(upper) << 1);
  }
  const std::uint32_t lower_count = static_cast<std::uint32_t>(kept) - upper_count;
  record.lower = level_of(sum - upper_sum, lower_count, most);
  record.upper = level_of(upper_sum, upper_count, most);
}

}  // namespace

void encode_tk(const EncodeJob& job, std::uint64_t t, TileInReference& tile)
{
  const TkShape shape = tk_shape(job.input.codec.id);
  const std::uint32_t most = most_magnitude(tile.a, kTileElements);
  const bool poisoned = is_poison(most);
  TkRecord record;
  std::fill_n(tile.decoded, kTileElements, 0.0f);
  if (poisoned || most < kLeastMeanBits)
  {
    std::iota(record.indices, record.indices + shape.kept, std::uint16_t{0});
    std::fill_n(record.codes, shape.kept, std::uint8_t{0});
    record.lower = record.upper = poisoned ? kPoisonScale : 0;
  }
  else
  {
    select_largest(tile.a, shape.kept, record.indices);
    choose_levels(tile.a, shape.kept, most, record);
    const float lower = widen_bf16(record.lower), upper = widen_bf16(record.upper);
    for (int i = 0; i < shape.kept; ++i)
      tile.decoded[record.indices[i]] = tk_value(record.codes[i], lower, upper);
  }
  tile.poisoned_blocks = poisoned ? 1 : 0;
  std::fill_n(tile.poisoned, kTileElements, poisoned);
  write_tk(shape, record,
           {tile_of(job.payload, job.layout, 0, t), tile_of(job.payload, job.layout, 1, t),
            tile_of(job.payload, job.layout, 2, t), tile_of(job.payload, job.layout, 3, t)});
}

void decode_tk(const Contribution& contribution, const Layout& layout, std::uint64_t t,
               DecodedTile& out)
{
  const std::byte* const payload = contribution.payload.data();
  TkRecord record;
  read_tk(tk_shape(contribution.codec.id), tile_of(payload, layout, 0, t),
          tile_of(payload, layout, 1, t), tile_of(payload, layout, 2, t),
          tile_of(payload, layout, 3, t), record);
  const bool poisoned = record.lower == kPoisonScale;
  std::fill_n(out.values, kTileElements, float_of(kCanonicalNan));
  std::fill_n(out.sent, kTileElements, poisoned);
  if (poisoned) return;
  const float lower = widen_bf16(record.lower), upper = widen_bf16(record.upper);
  for (int i = 0; i < tk_shape(contribution.codec.id).kept; ++i)
  {
    out.values[record.indices[i]] = tk_value(record.codes[i], lower, upper);
    out.sent[record.indices[i]] = true;
  }
}

}  // namespace spillway::kernels
