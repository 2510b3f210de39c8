// SPDX-License-Identifier: Apache-2.0
#include "network.h"

#include <algorithm>

#include "world.h"

namespace spillway::sim {

void Network::send(int from, int to, PeerMessage message)
{
  const Key key{message.number, from, to};
  Link& link = links_[key];
  if (link.broken) return;
  MonotonicTime due = world_.now() + world_.delay(Lane::kData, from, to);
  if (!world_.setup().reorders && !link.queue.empty()) due = std::max(due, link.queue.back().due);
  if (world_.setup().duplicates && world_.rng().chance(0.1))
    link.queue.push_back({due + world_.delay(Lane::kData, from, to), message});
  link.queue.push_back({due, std::move(message)});
  for (const UnderWay& item : link.queue)
    if (item.due >= due) world_.schedule().at(item.due, [this, key] { pump(key); });
}

void Network::pump(const Key& key)
{
  const auto [number, from, to] = key;
  while (true)
  {
    Link& link = links_[key];
    Process& receiver = world_.process(to);
    if (!receiver.running()) return;
    auto at = std::find_if(link.queue.begin(), link.queue.end(), [&](const UnderWay& item) {
      const bool error = item.message.kind == PeerMessage::Kind::kBroken;
      return item.due <= world_.now() && (error || !is_cut(from, to)) &&
             !is_held(from, to, item.message);
    });
    // An error is what comes last.
    if (at == link.queue.end()) return;
    const PeerMessage message = std::move(at->message);
    link.queue.erase(at);
    receiver.arrived(from, message);
  }
}

void Network::break_direction(Number number, int from, int to, bool keep)
{
  const Key key{number, from, to};
  Link& link = links_[key];
  if (link.broken) return;
  link.broken = true;
  // What a script holds never left its sender.
  std::erase_if(link.queue, [&](const UnderWay& item) { return is_held(from, to, item.message); });
  const std::size_t kept = keep ? world_.some_of(link.queue.size()) : 0;
  link.queue.resize(kept);
  MonotonicTime due = world_.now() + world_.delay(Lane::kData, from, to);
  for (const UnderWay& item : link.queue) due = std::max(due, item.due);
  // What a cut holds back is lost with the link.
  if (is_cut(from, to)) link.queue.clear();
  PeerMessage error;
  error.kind = PeerMessage::Kind::kBroken;
  error.number = number;
  link.queue.push_back({due, std::move(error)});
  world_.schedule().at(due, [this, key] { pump(key); });
}

void Network::break_link(Number number, int a, int b, bool keep)
{
  break_direction(number, a, b, keep);
  break_direction(number, b, a, keep);
}

bool Network::is_broken(Number number, int a, int b) const
{
  const auto broken = [&](int from, int to) {
    const auto at = links_.find({number, from, to});
    return at != links_.end() && at->second.broken;
  };
  return broken(a, b) || broken(b, a);
}

void Network::make_link(Number number, int a, int b)
{
  if (!is_broken(number, a, b)) return;
  links_[{number, a, b}] = links_[{number, b, a}] = Link();
}

void Network::break_all(int process, bool keep)
{
  for (int other = 0; other < world_.process_count(); ++other)
  {
    if (other == process) continue;
    std::set<Number> numbers = world_.process(process).group_numbers();
    numbers.merge(world_.process(other).group_numbers());
    for (Number number : numbers)
      if (world_.process(process).knows_peer(number, other) ||
          world_.process(other).knows_peer(number, process))
        break_link(number, process, other, keep);
  }
}

void Network::wake(int process)
{
  std::vector<Key> keys;
  for (const auto& [key, link] : links_)
    if (std::get<2>(key) == process && !link.queue.empty()) keys.push_back(key);
  for (const Key& key : keys) pump(key);
}

void Network::cut(int from, int to)
{
  if (!cuts_.insert({from, to}).second) return;
  world_.schedule().after(world_.delay(Lane::kNotice, from, to) * 5,
                          [this, from, to] { notice_cut(from, to); });
}

void Network::notice_cut(int a, int b)
{
  if (!is_cut(a, b)) return;
  if (a == kCoordinator || b == kCoordinator)
    return world_.control().break_connection(std::max(a, b));
  std::set<Number> numbers = world_.process(a).group_numbers();
  numbers.merge(world_.process(b).group_numbers());
  for (Number number : numbers)
    if (world_.process(a).knows_peer(number, b) || world_.process(b).knows_peer(number, a))
      break_link(number, a, b, true);
}

void Network::heal(int from, int to)
{
  if (cuts_.erase({from, to}) == 0) return;
  if (to == kCoordinator || from == kCoordinator)
    world_.control().wake(std::max(from, to));
  else
    wake(to);
}

void Network::heal_all()
{
  const auto cuts = cuts_;
  for (const auto& [from, to] : cuts) heal(from, to);
}

bool Network::is_held(int from, int to, const PeerMessage& message) const
{
  return !world_.holds().empty() && message.kind != PeerMessage::Kind::kBroken &&
         world_.holds().holds(happening(from, to, message));
}

void Network::lose(const Happening& pattern)
{
  for (auto& [key, link] : links_)
    std::erase_if(link.queue,
                  [&, from = std::get<1>(key), to = std::get<2>(key)](const auto& item) {
                    return is_held(from, to, item.message) &&
                           Holds::fits(pattern, happening(from, to, item.message));
                  });
}

bool Network::any_held(const Happening& pattern) const
{
  for (const auto& [key, link] : links_)
    for (const UnderWay& item : link.queue)
    {
      const int from = std::get<1>(key), to = std::get<2>(key);
      if (item.due <= world_.now() && is_held(from, to, item.message) &&
          Holds::fits(pattern, happening(from, to, item.message)))
        return true;
    }
  return false;
}

}  // namespace spillway::sim
