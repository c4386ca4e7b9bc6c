#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace collegium::index {

// Where a term stands: a passage, how often, and how many words the passage has.
struct Posting {
  std::uint64_t row = 0;
  std::uint32_t tf = 0;
  std::uint32_t length = 0;
};

// A pair no posting of a block beats in both: BM25 grows with tf and shrinks with the length, so
// the best of these bounds a block whatever k1, b and the mean length are.
struct Impact {
  std::uint32_t tf = 0;
  std::uint32_t length = 0;
};

// A block of at most kMaxPostings postings by ascending row; little-endian:
//   u64 base row, u16 postings, u8 bytes of an offset, u8 of a tf, u8 of a length, u8 impacts,
//   impacts of u32 tf, u32 length; offsets from the base, all tf, all lengths
// Columns of equal width are read where they lie, without unpacking what is not needed.
class PostingBlock {
 public:
  static constexpr std::size_t kMaxPostings = 128;
  // Of more pairs some are joined, which makes the bound looser.
  static constexpr std::size_t kMaxImpacts = 8;

  static std::string write(std::span<const Posting> postings);
  // Points into `bytes`. False when they are no block; whether rows ascend is not looked at.
  [[nodiscard]] bool read(std::string_view bytes) noexcept;

  std::size_t size() const noexcept { return size_; }
  std::uint64_t base() const noexcept { return base_; }
  std::uint64_t row(std::size_t i) const noexcept { return base_ + column(0, i); }
  std::uint32_t tf(std::size_t i) const noexcept {
    return static_cast<std::uint32_t>(column(1, i));
  }
  std::uint32_t length(std::size_t i) const noexcept {
    return static_cast<std::uint32_t>(column(2, i));
  }
  std::uint64_t last_row() const noexcept { return row(size_ - 1); }  // pre: size() > 0
  std::size_t num_impacts() const noexcept { return num_impacts_; }
  Impact impact(std::size_t i) const noexcept;
  // The first posting at or behind `from` whose row is at least `row`; size() if there is none.
  std::size_t find(std::uint64_t row, std::size_t from) const noexcept;
  std::vector<Posting> postings() const;
  // The first size() of each: rows, and weight * (tf / (tf + (flat + per_word * length))).
  void unpack(std::array<std::uint64_t, kMaxPostings>& rows,
              std::array<double, kMaxPostings>& scores, double flat, double per_word,
              double weight) const noexcept;

 private:
  std::uint64_t column(std::size_t which, std::size_t i) const noexcept;

  std::uint64_t base_ = 0;
  std::size_t size_ = 0;
  std::size_t num_impacts_ = 0;
  const char* impacts_ = nullptr;
  std::array<std::size_t, 3> width_{};
  std::array<const char*, 3> columns_{};
};

// Positions of a block's postings: for each, tf numbers, each the difference from the one before,
// in groups of 7 bits, lowest first.
void append_positions(std::string& out, std::span<const std::uint32_t> ascending);
// How many bytes the `count` numbers at the start of `bytes` take; bytes.size() + 1 if they are
// not all there.
std::size_t positions_size(std::string_view bytes, std::size_t count) noexcept;
// Appends `count` positions and moves `bytes` behind them. False when they are not there.
[[nodiscard]] bool read_positions(std::string_view& bytes, std::size_t count,
                                  std::vector<std::uint32_t>& out);

}  // namespace collegium::index
