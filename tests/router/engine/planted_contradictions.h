#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Measures check_support(): sentences of a passage are stated as they are or lightly reworded
// (these must be let through), and contradicted by rule (these must be found): a number changed, a
// name swapped for one of another passage, a negation inserted or taken out.
namespace collegium::router {

enum class PlantedKind { kNumber, kName, kNegation };

struct PlantedScore {
  std::array<std::size_t, 3> planted{}, found{};  // by PlantedKind
  std::size_t faithful = 0, false_alarms = 0;
  double recall(PlantedKind kind) const;
  double recall() const;
  double precision() const;  // of all alarms, those that were planted
  double false_alarm_rate() const;
};

// Passages of a few sentences each, of the kind manuals have.
std::vector<std::string> manual_sentences();

PlantedScore measure_planted(std::span<const std::string> passages, std::uint64_t seed);

}  // namespace collegium::router
