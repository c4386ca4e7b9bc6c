#include <algorithm>
#include <cmath>
#include <utility>

#include "experts/trunk_config.h"
#include "io/in_quotes.h"
#include "lm/decoder_hf_config.h"

namespace collegium::core {
namespace {

constexpr std::uint64_t kMaxCount = std::uint64_t{1} << 31;
constexpr std::size_t kMaxRotated = std::size_t{1} << 20;
constexpr std::size_t kMaxList = std::size_t{1} << 16;

}  // namespace

void JsonFields::fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

bool JsonFields::has(std::string_view key) const {
  if (!root_.has(key)) return false;
  const auto value = root_.get(key);
  return value.ok() && !value->is_null();
}

const JsonValue* JsonFields::find(std::string_view key) {
  read_.emplace(key);
  if (!has(key)) return nullptr;
  found_.push_back(*root_.get(key));
  return &found_.back();
}

std::size_t JsonFields::count(std::string_view key, std::size_t least) {
  if (!has(key)) {
    read_.emplace(key);
    fail(Status::corruption(root_.where() + ": has no " + in_quotes(key)));
    return least;
  }
  return count_or(key, least, least);
}

std::size_t JsonFields::count_or(std::string_view key, std::size_t fallback, std::size_t least) {
  const JsonValue* value = find(key);
  if (value == nullptr) return fallback;
  const auto number = value->as_unsigned();
  if (!number.ok()) {
    fail(number.status());
  } else if (*number < least || *number > kMaxCount) {
    fail(Status::corruption(value->where() + " is " + std::to_string(*number) + ", must be in [" +
                            std::to_string(least) + ", " + std::to_string(kMaxCount) + "]"));
  } else {
    return static_cast<std::size_t>(*number);
  }
  return fallback;
}

double JsonFields::number(std::string_view key) {
  if (!has(key)) {
    read_.emplace(key);
    fail(Status::corruption(root_.where() + ": has no " + in_quotes(key)));
    return 1.0;
  }
  return number_or(key, 1.0);
}

double JsonFields::number_or(std::string_view key, double fallback) {
  const JsonValue* value = find(key);
  if (value == nullptr) return fallback;
  const auto number = value->as_number();
  if (!number.ok()) {
    fail(number.status());
  } else if (!std::isfinite(*number) || std::abs(*number) > 1e30) {
    fail(Status::corruption(value->where() + " is " + std::to_string(*number) +
                            ", must be finite and not huge"));
  } else {
    return *number;
  }
  return fallback;
}

bool JsonFields::flag_or(std::string_view key, bool fallback) {
  const JsonValue* value = find(key);
  if (value == nullptr) return fallback;
  const auto flag = value->as_bool();
  if (!flag.ok()) fail(flag.status());
  return flag.ok() ? *flag : fallback;
}

std::string JsonFields::text_or(std::string_view key, std::string fallback) {
  const JsonValue* value = find(key);
  if (value == nullptr) return fallback;
  auto text = value->as_string();
  if (!text.ok()) fail(text.status());
  return text.ok() ? std::move(text).value() : fallback;
}

std::vector<double> JsonFields::numbers(std::string_view key) {
  std::vector<double> numbers;
  const JsonValue* value = find(key);
  if (value == nullptr) return numbers;
  const auto list = value->as_array(kMaxList);
  if (!list.ok()) fail(list.status());
  if (!list.ok()) return numbers;
  for (const JsonValue& entry : *list) {
    const auto number = entry.as_number();
    if (!number.ok()) {
      fail(number.status());
      return {};
    }
    numbers.push_back(*number);
  }
  return numbers;
}

std::vector<std::string> JsonFields::texts(std::string_view key) {
  std::vector<std::string> texts;
  const JsonValue* value = find(key);
  if (value == nullptr) return texts;
  const auto list = value->as_array(kMaxList);
  if (!list.ok()) fail(list.status());
  if (!list.ok()) return texts;
  for (const JsonValue& entry : *list) {
    auto text = entry.as_string();
    if (!text.ok()) {
      fail(text.status());
      return {};
    }
    texts.push_back(std::move(text).value());
  }
  return texts;
}

void JsonFields::only_flag(std::string_view key, bool value) {
  if (flag_or(key, value) != value)
    fail(not_run(found_.back(), value ? "false" : "true", value ? "true" : "false"));
}

void JsonFields::only_text(std::string_view key, std::string_view value) {
  const std::string text = text_or(key, std::string(value));
  if (text != value) fail(not_run(found_.back(), in_quotes(text), value));
}

const JsonValue* JsonFields::object(std::string_view key) {
  const JsonValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (value->is_object()) return value;
  fail(Status::corruption(value->where() + " is no object"));
  return nullptr;
}

Status JsonFields::finish() const {
  COLLEGIUM_RETURN_IF_ERROR(status_);
  return root_.for_each_field([&](std::string_view key, const JsonValue& value) -> Status {
    if (read_.contains(key)) return {};
    return unknown_field(value);
  });
}

Rope read_hf_rope(JsonFields& fields, const HfRopeAsk& ask, float& attention_scale,
                  std::size_t& context) {
  Rope rope;
  rope.layout = ask.layout;
  const std::string type = fields.text_or("rope_type", fields.text_or("type", "default"));
  fields.ignore("type");
  const double base = fields.number_or("rope_theta", ask.base);
  const double partial = fields.number_or("partial_rotary_factor", ask.partial);
  if (!(base > 0.0) || !(partial > 0.0) || partial > 1.0) {
    fields.fail(Status::corruption(fields.root().where() +
                                   ": rope_theta must be above 0 and partial_rotary_factor in (0, "
                                   "1], not " +
                                   std::to_string(base) + " and " + std::to_string(partial)));
    return rope;
  }
  const auto dims = static_cast<std::size_t>(static_cast<double>(ask.dims) * partial);
  if (dims < 2 || dims % 2 != 0 || dims > kMaxRotated) {
    fields.fail(Status::corruption(fields.root().where() + ": " + std::to_string(dims) +
                                   " numbers of a head cannot be turned in pairs"));
    return rope;
  }
  rope.frequencies = rope_frequencies(base, dims);
  const auto positive = [&](const char* key, double value) {
    if (!(value > 0.0))
      fields.fail(Status::corruption(fields.root().where() + ": " + key + " is " +
                                     std::to_string(value) + ", must be above 0"));
    return value > 0.0 ? value : 1.0;
  };
  if (type == "default") return rope;
  if (type == "dynamic") {
    // As long as no text is longer than max_position_embeddings, where the context ends here, the
    // frequencies are the plain ones.
    positive("factor", fields.number("factor"));
    fields.ignore("original_max_position_embeddings");
    return rope;
  }
  if (type == "linear") {
    scale_rope_linear(positive("factor", fields.number("factor")), rope.frequencies);
    return rope;
  }
  const std::size_t original =
      fields.count_or("original_max_position_embeddings", ask.original_context, 1);
  if (type == "llama3") {
    Llama3RopeScaling scaling;
    scaling.factor = positive("factor", fields.number("factor"));
    scaling.low_freq_factor = positive("low_freq_factor", fields.number("low_freq_factor"));
    scaling.high_freq_factor = positive("high_freq_factor", fields.number("high_freq_factor"));
    scaling.original_context = original;
    if (scaling.high_freq_factor <= scaling.low_freq_factor)
      fields.fail(Status::corruption(fields.root().where() +
                                     ": high_freq_factor must be above low_freq_factor"));
    else
      scale_rope_llama3(scaling, rope.frequencies);
    return rope;
  }
  if (type == "yarn") {
    YarnRopeScaling scaling;
    scaling.factor = positive(
        "factor",
        fields.number_or("factor", static_cast<double>(context) / static_cast<double>(original)));
    scaling.beta_fast = positive("beta_fast", fields.number_or("beta_fast", 32.0));
    scaling.beta_slow = positive("beta_slow", fields.number_or("beta_slow", 1.0));
    scaling.original_context = original;
    scaling.truncate = fields.flag_or("truncate", true);
    const double mscale = fields.number_or("mscale", 0.0);
    const double mscale_all = fields.number_or("mscale_all_dim", 0.0);
    const auto stretch = [&](double weight) {
      return scaling.factor <= 1.0 ? 1.0 : 0.1 * weight * std::log(scaling.factor) + 1.0;
    };
    const double factor =
        mscale != 0.0 && mscale_all != 0.0 ? stretch(mscale) / stretch(mscale_all) : stretch(1.0);
    rope.factor = static_cast<float>(fields.number_or("attention_factor", factor));
    if (ask.latent && mscale_all != 0.0)
      attention_scale = static_cast<float>(static_cast<double>(attention_scale) *
                                           stretch(mscale_all) * stretch(mscale_all));
    if (!(base > 1.0))
      fields.fail(Status::corruption(fields.root().where() + ": rope_theta must be above 1"));
    else
      scale_rope_yarn(scaling, base, rope.frequencies);
    return rope;
  }
  if (type == "longrope" && ask.long_rope) {
    // Beyond the length it was trained for first, other factors hold, for all positions at once:
    // what was read before would have to be read again. So the context ends there.
    const std::vector<double> factors = fields.numbers("short_factor");
    for (const char* key : {"long_factor", "long_mscale", "factor", "attention_factor"})
      fields.ignore(key);
    if (factors.size() != rope.frequencies.size()) {
      fields.fail(Status::corruption(fields.root().where() + ": short_factor has " +
                                     std::to_string(factors.size()) + " numbers, must be " +
                                     std::to_string(rope.frequencies.size())));
      return rope;
    }
    for (std::size_t i = 0; i < factors.size(); ++i) {
      const float wave = 1.0f / rope.frequencies[i];
      rope.frequencies[i] =
          1.0f / (static_cast<float>(positive("short_factor", factors[i])) * wave);
    }
    rope.factor = static_cast<float>(positive("short_mscale", fields.number("short_mscale")));
    context = std::min(context, original);
    return rope;
  }
  fields.fail(
      Status::not_supported(fields.root().where() + ": rope_type is " + in_quotes(type) +
                            "; here only default, linear, dynamic, llama3 and yarn are run"));
  return rope;
}

}  // namespace collegium::core
