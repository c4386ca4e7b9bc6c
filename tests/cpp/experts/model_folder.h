#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace collegium::core {

// Model folders that tests take apart.

// tests/data/encoder/<name>
std::string encoder_data(const std::string& name);

// tests/data/encoder/families/<name>, and the texts its goldens are of.
std::string family_data(const std::string& name);
std::vector<std::string> family_texts();

// A new empty folder below the test's temporary one, removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  // `name` below the folder.
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void copy_folder(const std::string& from, const std::string& to);
std::string read_file(const std::string& path);
void write_file(const std::string& path, const std::string& bytes);
// Replaces the one occurrence of `from` in the file; a test failure if there is none.
void replace_in_file(const std::string& path, const std::string& from, const std::string& to);

struct TestTensor {
  std::vector<std::size_t> shape;
  std::vector<float> values;
};
using TestTensors = std::map<std::string, TestTensor>;

// All tensors as F32, in a safetensors file of our own making.
void write_safetensors(const std::string& path, const TestTensors& tensors);

// A random BERT with the vocabulary of the tiny models, large enough that its products are split
// between threads: hidden 128, 2 layers of 4 heads, intermediate 512, 160 positions.
TestTensors random_bert(unsigned seed);
void write_random_bert(const std::string& folder, const TestTensors& tensors);

// Texts of zero to some hundred words of that vocabulary, and of others.
std::vector<std::string> random_texts(std::size_t count, unsigned seed);

}  // namespace collegium::core
