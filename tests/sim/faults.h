// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "spillway/base/clock.h"

namespace spillway::sim {

class World;

// What goes wrong in a run, and what is wished, at random times.
class Faults
{
 public:
  explicit Faults(World& world) : world_(world) {}
  void plan();

 private:
  void wish();
  void fault();
  void restart_something();
  void stray_abort();
  int somebody();  // -1: nobody is alive
  void start();
  void leave();
  void kill(bool agent_sees);
  void pause();
  void hang();
  void cut_pair();
  void cut_off();
  void partition();
  void heal_later(int from, int to);
  Duration soon();

  World& world_;
};

}  // namespace spillway::sim
