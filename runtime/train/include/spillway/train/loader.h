// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

#include "spillway/train/run.h"

namespace spillway {

struct LoaderOptions
{
  std::size_t threads = 1;
  std::size_t depth = 4;  // micro-batches loaded ahead, at most
};

// The part of Loader that does not depend on what is loaded. Owns its threads.
class LoaderCore
{
 public:
  using Load = std::function<std::shared_ptr<void>(const Samples&)>;
  LoaderCore(Run& run, Load load, LoaderOptions options);
  ~LoaderCore();
  std::shared_ptr<void> get(const MicroBatch& micro);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Loads the samples of coming micro-batches on threads of its own. Which they will be is a guess
// from this worker's present share; when members come or go, what was loaded for other slices is
// dropped and the guess starts from the new share, so get() never gives another batch than asked.
// `load` runs on several threads at a time; what it throws, get() throws. The run outlives this.
template <typename Batch>
class Loader
{
 public:
  Loader(Run& run, std::function<Batch(const Samples&)> load, LoaderOptions options = {})
      : core_(
            run,
            [load = std::move(load)](const Samples& samples) {
              return std::static_pointer_cast<void>(std::make_shared<Batch>(load(samples)));
            },
            options)
  {
  }
  // The batch of this micro-batch; waits for it, or loads it here if nobody has begun.
  Batch get(const MicroBatch& micro)
  {
    return std::move(*std::static_pointer_cast<Batch>(core_.get(micro)));
  }

 private:
  LoaderCore core_;
};

}  // namespace spillway
