#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "collegium/router/library.h"

#define ASSERT_OK(expression)                                                        \
  do {                                                                               \
    const auto& result_under_test = (expression);                                    \
    ASSERT_TRUE(result_under_test.ok()) << status_of(result_under_test).to_string(); \
  } while (false)

namespace collegium::router {

inline Status status_of(const Status& status) { return status; }
template <typename T>
Status status_of(const Result<T>& result) {
  return result.status();
}

// A folder that goes when the test does.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "clgm-router-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A two-layer encoder of dimension 32 and 32 tokens with random weights: equal words give like
// vectors, which is all that these tests need of meaning.
inline std::string tiny_encoder() { return std::string(COLLEGIUM_TEST_DATA) + "/encoder/plain"; }

// Two layers with random weights and a context of 96 tokens: it has a chat template, but no prompt
// with passages fits.
inline std::string tiny_language_model() {
  return std::string(COLLEGIUM_TEST_DATA) + "/tiny_llama.gguf";
}

inline CreateOptions tiny_options() {
  CreateOptions options;
  options.encoder = tiny_encoder();
  return options;
}

inline Document make_document(std::string id, std::string title, std::string text) {
  return {std::move(id), std::move(title), std::move(text), ""};
}

struct Subject {
  std::string name;
  std::vector<Document> documents;
  std::vector<Pair> pairs;
};

// `count` documents about a subject, from the tiny encoder's words, with a question for each.
inline Subject make_subject(const std::string& name, const std::vector<std::string>& words,
                            std::size_t count) {
  Subject subject{name, {}, {}};
  for (std::size_t i = 0; i < count; ++i) {
    std::string code;
    for (std::size_t n = i + 1; n > 0; n /= 5) code += " " + std::to_string(n % 5 + 1);
    const std::string& first = words[i % words.size()];
    const std::string& second = words[(i / words.size() + 1) % words.size()];
    const std::string id = name + "-" + std::to_string(i);
    subject.documents.push_back(make_document(id, first + code,
                                              "The " + second + " of the " + first + " runs" +
                                                  code + ". It is not a " + words.back() + "."));
    subject.pairs.push_back({"how is the " + first + code + "?", id, std::nullopt, 1.0f});
  }
  return subject;
}

inline Subject law_subject(std::size_t count = 40) {
  return make_subject("law", {"law", "market", "unaffable"}, count);
}
inline Subject nature_subject(std::size_t count = 40) {
  return make_subject("nature", {"river", "winter", "water"}, count);
}
inline Subject music_subject(std::size_t count = 40) {
  return make_subject("music", {"music", "engine", "cell"}, count);
}

inline std::vector<std::string> small_talk() {
  return {"not to!",   "what?",     "and how!",   "a to 1",    "is 2 not 3?", "how 4 to 5?",
          "what and?", "not 1 to!", "a 2 and 3!", "to 5 not!", "what is 4?",  "how and how?"};
}

// A library with three subjects, made in `path`; fitted if wanted.
inline std::shared_ptr<Library> make_library(const std::string& path, bool fitted) {
  auto library = Library::create(path, tiny_options());
  EXPECT_TRUE(library.ok()) << library.status().to_string();
  if (!library.ok()) return nullptr;
  for (const Subject& subject : {law_subject(), nature_subject(), music_subject()}) {
    const auto added = (*library)->add(subject.name, subject.documents, subject.pairs);
    EXPECT_TRUE(added.ok()) << added.status().to_string();
  }
  if (fitted) {
    EXPECT_TRUE((*library)->add_negatives(small_talk()).ok());
    const auto fit = (*library)->fit();
    EXPECT_TRUE(fit.ok()) << fit.status().to_string();
  }
  return *library;
}

// What two answers to one question must share to the bit: everything but the times.
inline std::string without_times(const Answer& answer) {
  return std::regex_replace(answer.to_json(), std::regex("\"ms\":[-+.e0-9]+"), "\"ms\":0");
}

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> names;
  if (!std::filesystem::exists(folder)) return names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace collegium::router
