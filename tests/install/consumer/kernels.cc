// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <vector>

#include "spillway/kernels/coder.h"

// Encodes and decodes, which needs everything that the library stands on.
int main()
{
  using namespace spillway::kernels;
  std::vector<float> values(1000, 0.5f), back(1000);
  const Codec codec = *find_codec("q8");
  std::vector<std::byte> payload(layout_of(codec, values.size())->payload_bytes);
  EncodeInput input;
  input.codec = codec;
  input.values = values.data();
  input.elements = values.size();
  if (!encode(input, absl::MakeSpan(payload)).ok()) return 1;
  const Contribution from{codec, payload, 1.0f};
  if (!decode({&from, 1}, absl::MakeSpan(back)).ok()) return 2;
  std::printf("%g\n", static_cast<double>(back[0]));
  return back[0] > 0.49f && back[0] < 0.51f ? 0 : 3;
}
