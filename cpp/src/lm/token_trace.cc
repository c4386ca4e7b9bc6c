#include "collegium/core/lm/token_trace.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "collegium/core/bytes.h"
#include "collegium/core/file_envelope.h"

namespace collegium::core {
namespace {

// The payload (docs/formats.md). Version history:
//   1: string model, string routing, u64 first position, u64 tokens, i32 token_ids[tokens],
//      u8 parts (1 logits, 2 output norms), u32 layers; for each: u32 number, u32 experts,
//      u32 gate_rows, u64 pairs, u64 offsets[tokens + 1], i32 ids[pairs], f32 weights[pairs],
//      with output norms f32 norms[pairs], then f32 logits[tokens][gate_rows].
constexpr FileKind kTraceKind{"moetrace", 1};
constexpr std::uint8_t kHasLogits = 1;
constexpr std::uint8_t kHasNorms = 2;

template <typename T>
void append(std::vector<T>& values, std::span<const T> more) {
  values.insert(values.end(), more.begin(), more.end());
}

std::string in_layer(std::size_t layer) { return "layer " + std::to_string(layer) + ": "; }

bool fits_u32(std::size_t n) { return n <= std::numeric_limits<std::uint32_t>::max(); }

}  // namespace

const TokenTrace::Layer* TokenTrace::layer(std::size_t number) const noexcept {
  for (const Layer& one : layers_)
    if (one.layer == number) return &one;
  return nullptr;
}

void TokenTrace::describe(std::string model, std::string routing) {
  model_ = std::move(model);
  routing_ = std::move(routing);
}

void TokenTrace::begin_tokens(std::size_t position, std::span<const std::int32_t> ids) {
  if (token_ids_.empty()) first_position_ = position;
  append(token_ids_, ids);
}

TokenTrace::Layer& TokenTrace::layer_for(const RouterInput& input) {
  const auto at = std::find_if(layers_.begin(), layers_.end(),
                               [&](const Layer& one) { return one.layer >= input.layer; });
  if (at != layers_.end() && at->layer == input.layer) return *at;
  Layer& one = *layers_.insert(at, Layer{});
  one.layer = input.layer;
  one.experts = input.experts;
  one.gate_rows = parts_.logits && input.logits != nullptr ? input.gate_rows : 0;
  one.offsets.push_back(0);
  return one;
}

void TokenTrace::record(const RouterInput& input, const Routing& routing) {
  Layer& one = layer_for(input);
  if (one.gate_rows != 0) append(one.logits, std::span(input.logits, input.tokens * one.gate_rows));
  const std::uint64_t begin = one.ids.size();
  for (std::size_t t = 1; t < routing.offsets.size(); ++t)
    one.offsets.push_back(begin + routing.offsets[t]);
  append(one.ids, std::span<const std::int32_t>(routing.ids));
  append(one.weights, std::span<const float>(routing.weights));
}

void TokenTrace::record_output_norms(std::size_t layer, std::span<const float> norms) {
  if (!parts_.output_norms) return;
  for (Layer& one : layers_)
    if (one.layer == layer) append(one.output_norms, norms);
}

// The columns fit each other and the tokens. Of a file everything is looked at; of a recorded trace
// the rest holds because route() validated it.
Status TokenTrace::check() const {
  const std::size_t tokens = token_ids_.size();
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    const Layer& one = layers_[l];
    const auto wrong = [&](const std::string& what) {
      return Status::failed_precondition(in_layer(one.layer) + what);
    };
    if (l != 0 && one.layer <= layers_[l - 1].layer)
      return wrong("after layer " + std::to_string(layers_[l - 1].layer));
    if (one.rows() != tokens)
      return wrong("rows of " + std::to_string(one.rows()) + " tokens, expected " +
                   std::to_string(tokens));
    if (one.experts == 0) return wrong("no experts");
    if (one.gate_rows != 0 && one.gate_rows < one.experts)
      return wrong(std::to_string(one.gate_rows) + " rows of the gate for " +
                   std::to_string(one.experts) + " experts");
    if (one.weights.size() != one.ids.size())
      return wrong(std::to_string(one.weights.size()) + " weights of " +
                   std::to_string(one.ids.size()) + " experts");
    if (parts_.output_norms && one.output_norms.size() != one.ids.size())
      return wrong(std::to_string(one.output_norms.size()) + " output norms of " +
                   std::to_string(one.ids.size()) + " experts");
    if (one.offsets.front() != 0 || one.offsets.back() != one.ids.size() ||
        !std::is_sorted(one.offsets.begin(), one.offsets.end()))
      return wrong("offsets do not ascend from 0 to the " + std::to_string(one.ids.size()) +
                   " experts");
    for (const std::int32_t id : one.ids)
      if (id < 0 || static_cast<std::size_t>(id) >= one.experts)
        return wrong("expert id " + std::to_string(id) + ", allowed are 0 to " +
                     std::to_string(one.experts - 1));
    for (const auto* column : {&one.weights, &one.output_norms})
      for (const float value : *column)
        if (!std::isfinite(value))
          return wrong("a weight or output norm is " + std::to_string(value));
    for (const float value : one.logits)
      if (std::isnan(value) || value == std::numeric_limits<float>::infinity())
        return wrong("a logit is " + std::to_string(value));
    if (!fits_u32(one.layer) || !fits_u32(one.gate_rows) || !fits_u32(one.experts))
      return wrong("a size does not fit 32 bits");
  }
  return {};
}

Status TokenTrace::save(const std::string& path) const {
  COLLEGIUM_RETURN_IF_ERROR(check().with_context("trace"));
  ByteWriter writer;
  writer.write_string(model_);
  writer.write_string(routing_);
  writer.write<std::uint64_t>(first_position_);
  writer.write<std::uint64_t>(token_ids_.size());
  writer.write_numbers<std::int32_t>(token_ids_);
  writer.write<std::uint8_t>(static_cast<std::uint8_t>((parts_.logits ? kHasLogits : 0) |
                                                       (parts_.output_norms ? kHasNorms : 0)));
  writer.write<std::uint32_t>(static_cast<std::uint32_t>(layers_.size()));
  for (const Layer& one : layers_) {
    writer.write<std::uint32_t>(static_cast<std::uint32_t>(one.layer));
    writer.write<std::uint32_t>(static_cast<std::uint32_t>(one.experts));
    writer.write<std::uint32_t>(static_cast<std::uint32_t>(one.gate_rows));
    writer.write<std::uint64_t>(one.ids.size());
    writer.write_numbers<std::uint64_t>(one.offsets);
    writer.write_numbers<std::int32_t>(one.ids);
    writer.write_numbers<float>(one.weights);
    writer.write_numbers<float>(one.output_norms);
    writer.write_numbers<float>(one.logits);
  }
  return write_file_envelope(path, kTraceKind, writer.bytes());
}

Result<TokenTrace> TokenTrace::load(const std::string& path) {
  COLLEGIUM_ASSIGN_OR_RETURN(const FileEnvelope file, read_file_envelope(path, kTraceKind));
  const auto damaged = [&](const std::string& what) {
    return Status::corruption(path + ": " + what);
  };
  ByteReader reader(file.payload);
  TokenTrace trace;
  std::uint64_t position = 0;
  std::uint64_t tokens = 0;
  std::uint8_t parts = 0;
  std::uint32_t layers = 0;
  if (!reader.read_string(trace.model_) || !reader.read_string(trace.routing_) ||
      !reader.read(position) || !reader.read(tokens) ||
      !reader.read_numbers(tokens, trace.token_ids_) || !reader.read(parts) || !reader.read(layers))
    return damaged("the trace ends within its tokens");
  if (parts > (kHasLogits | kHasNorms))
    return damaged("parts are " + std::to_string(parts) + ", allowed are 0 to 3");
  trace.first_position_ = static_cast<std::size_t>(position);
  trace.parts_ = {(parts & kHasLogits) != 0, (parts & kHasNorms) != 0};
  for (std::uint32_t l = 0; l < layers; ++l) {
    Layer one;
    std::uint32_t number = 0;
    std::uint32_t experts = 0;
    std::uint32_t gate_rows = 0;
    std::uint64_t pairs = 0;
    if (!reader.read(number) || !reader.read(experts) || !reader.read(gate_rows) ||
        !reader.read(pairs) || !reader.read_numbers(tokens + 1, one.offsets) ||
        !reader.read_numbers(pairs, one.ids) || !reader.read_numbers(pairs, one.weights) ||
        !reader.read_numbers(trace.parts_.output_norms ? pairs : 0, one.output_norms))
      return damaged("the trace ends within the " + std::to_string(l) + "th of " +
                     std::to_string(layers) + " layers");
    if (gate_rows != 0 && !trace.parts_.logits)
      return damaged(in_layer(number) + "logits, and the trace says it has none");
    // tokens and gate_rows are below 2^62 and 2^32: the file holds 4 bytes for each token.
    if (gate_rows != 0 && tokens > reader.remaining() / sizeof(float) / gate_rows)
      return damaged("the trace ends within the logits of layer " + std::to_string(number));
    if (!reader.read_numbers(tokens * gate_rows, one.logits))
      return damaged("the trace ends within the logits of layer " + std::to_string(number));
    one.layer = number;
    one.experts = experts;
    one.gate_rows = gate_rows;
    trace.layers_.push_back(std::move(one));
  }
  if (reader.remaining() != 0)
    return damaged(std::to_string(reader.remaining()) + " bytes after the last layer");
  if (const Status status = trace.check(); !status.ok()) return damaged(status.message());
  return trace;
}

}  // namespace collegium::core
