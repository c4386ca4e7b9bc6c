#include "experts/model_folder.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "io/json_file.h"

namespace collegium::core {
namespace fs = std::filesystem;

std::string encoder_data(const std::string& name) {
  return std::string(COLLEGIUM_TEST_DATA) + "/encoder/" + name;
}

std::string family_data(const std::string& name) { return encoder_data("families/" + name); }

std::vector<std::string> family_texts() {
  const auto document = JsonDocument::open(family_data("texts.json"));
  std::vector<std::string> list;
  const auto elements = document->root().as_array(100);
  for (const JsonValue& text : *elements) list.push_back(*text.as_string());
  return list;
}

TemporaryFolder::TemporaryFolder() {
  static std::atomic<int> count{0};
  path_ = testing::TempDir() + "collegium-encoder-" + std::to_string(getpid()) + "-" +
          std::to_string(count.fetch_add(1));
  fs::remove_all(path_);
  fs::create_directories(path_);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code error;
  fs::remove_all(path_, error);
}

void copy_folder(const std::string& from, const std::string& to) {
  fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_file(const std::string& path, const std::string& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

void replace_in_file(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = read_file(path);
  const std::size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from << " is not in " << path;
  write_file(path, text.replace(at, from.size(), to));
}

void write_safetensors(const std::string& path, const TestTensors& tensors) {
  std::string header = "{", data;
  for (const auto& [name, tensor] : tensors) {
    if (header.size() > 1) header += ",";
    header += "\"" + name + "\":{\"dtype\":\"F32\",\"shape\":[";
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
      header += (i == 0 ? "" : ",") + std::to_string(tensor.shape[i]);
    }
    const std::size_t bytes = tensor.values.size() * sizeof(float);
    header += "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + bytes) + "]}";
    data.append(reinterpret_cast<const char*>(tensor.values.data()), bytes);
  }
  header += "}";
  const std::uint64_t length = header.size();
  std::string prefix(sizeof length, '\0');
  std::memcpy(prefix.data(), &length, sizeof length);
  write_file(path, prefix + header + data);
}

TestTensors random_bert(unsigned seed) {
  constexpr std::size_t kVocabulary = 56, kHidden = 128, kIntermediate = 512, kPositions = 160;
  std::mt19937 generator(seed);
  TestTensors tensors;
  const auto add = [&](const std::string& name, std::vector<std::size_t> shape, float mean,
                       float deviation) {
    std::normal_distribution<float> normal(mean, deviation);
    std::size_t count = 1;
    for (std::size_t size : shape) count *= size;
    TestTensor& tensor = tensors[name];
    tensor.shape = std::move(shape);
    for (std::size_t i = 0; i < count; ++i) tensor.values.push_back(normal(generator));
  };
  const auto add_norm = [&](const std::string& name) {
    add(name + ".weight", {kHidden}, 1.0f, 0.2f);
    add(name + ".bias", {kHidden}, 0.0f, 0.2f);
  };
  const auto add_linear = [&](const std::string& name, std::size_t outputs, std::size_t inputs) {
    add(name + ".weight", {outputs, inputs}, 0.0f, 0.15f);
    add(name + ".bias", {outputs}, 0.0f, 0.2f);
  };
  add("embeddings.word_embeddings.weight", {kVocabulary, kHidden}, 0.0f, 1.0f);
  add("embeddings.position_embeddings.weight", {kPositions, kHidden}, 0.0f, 0.5f);
  add("embeddings.token_type_embeddings.weight", {2, kHidden}, 0.0f, 0.5f);
  add_norm("embeddings.LayerNorm");
  for (const std::string layer : {"encoder.layer.0.", "encoder.layer.1."}) {
    for (const char* part : {"query", "key", "value"}) {
      add_linear(layer + "attention.self." + part, kHidden, kHidden);
    }
    add_linear(layer + "attention.output.dense", kHidden, kHidden);
    add_norm(layer + "attention.output.LayerNorm");
    add_linear(layer + "intermediate.dense", kIntermediate, kHidden);
    add_linear(layer + "output.dense", kHidden, kIntermediate);
    add_norm(layer + "output.LayerNorm");
  }
  return tensors;
}

void write_random_bert(const std::string& folder, const TestTensors& tensors) {
  copy_folder(encoder_data("plain"), folder);
  write_file(folder + "/config.json",
             R"({"model_type": "bert", "hidden_act": "gelu", "vocab_size": 56, "hidden_size": 128,
                 "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512,
                 "max_position_embeddings": 160, "type_vocab_size": 2, "layer_norm_eps": 1e-12})");
  write_file(folder + "/1_Pooling/config.json",
             R"({"word_embedding_dimension": 128, "pooling_mode_mean_tokens": true})");
  write_file(folder + "/sentence_bert_config.json", R"({"max_seq_length": 160})");
  write_safetensors(folder + "/model.safetensors", tensors);
}

std::vector<std::string> random_texts(std::size_t count, unsigned seed) {
  constexpr const char* kWords[] = {"river", "runs",  "unaffable", "market", "the",  "law",
                                    "of",    "water", "unknown",   "(1)",    "not?", "engine"};
  std::mt19937 generator(seed);
  std::vector<std::string> texts(count);
  for (std::string& text : texts) {
    // Mostly short, some as long as the model reads, some empty.
    const std::size_t words = generator() % 8 == 0 ? generator() % 150 : generator() % 12;
    for (std::size_t i = 0; i < words; ++i) {
      text += std::string(i == 0 ? "" : " ") + kWords[generator() % std::size(kWords)];
    }
  }
  return texts;
}

}  // namespace collegium::core
