// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "spillway/comm/types.h"

namespace spillway::comm {

// destination[i] = sources[0][i] op sources[1][i] op …, in that order, with the arithmetic that
// group.h states. Every backend reduces with this one function, so all give the same bits. A NaN
// result is the type's canonical quiet NaN, because which operand's payload a processor keeps is
// up to the compiler. Pointers may have any alignment; destination overlaps no source.
void reduce(DType dtype, ReduceOp op, absl::Span<const std::byte* const> sources,
            std::byte* destination, std::uint64_t count);

}  // namespace spillway::comm
