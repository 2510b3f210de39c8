// SPDX-License-Identifier: Apache-2.0
#pragma once

// The whole public API. In a program:
//
//   auto runtime = spillway::Runtime::init();
//   auto run = runtime.start(spillway::TrainState(model, optimizer), data, options);
//   for (auto& step : run.steps())
//   {
//     for (auto& micro : step)
//       micro.backward(loss_sum(model->forward(batch(micro.indices()))), micro.size());
//     step.finish();
//   }

#include "spillway/train/error.h"
#include "spillway/train/loader.h"
#include "spillway/train/lr_schedule.h"
#include "spillway/train/options.h"
#include "spillway/train/run.h"
#include "spillway/train/samples.h"
#include "spillway/train/train_state.h"
