// The drivers that the Vulkan loader would read: which JSON files, and what is wrong with each.
// Places and precedence: the Vulkan-Loader project's LoaderDriverInterface.md, "Driver Discovery" (Linux,
// macOS).
#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "loader.h"

namespace attn::vulkan {
namespace {

namespace fs = std::filesystem;

// Reads JSON strictly enough to tell a sound file from a damaged one, and keeps the strings by their path
// ("ICD.library_path"): all that a manifest is asked for.
class Json {
 public:
  explicit Json(const std::string& text) : at_(text.data()), end_(at_ + text.size()) {
    value("");
    space();
    if (at_ != end_) fail("something follows the end");
  }
  const std::string* find(const std::string& path) const {
    for (const auto& [key, text] : strings_)
      if (key == path) return &text;
    return nullptr;
  }

 private:
  [[noreturn]] void fail(const char* what) const { throw std::runtime_error(what); }
  void space() {
    while (at_ != end_ && std::isspace(static_cast<unsigned char>(*at_))) ++at_;
  }
  bool take(char c) {
    space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  std::string text() {
    if (!take('"')) fail("a string was expected");
    std::string out;
    for (; at_ != end_ && *at_ != '"'; ++at_) {
      if (*at_ == '\\' && ++at_ == end_) break;
      out += *at_;
    }
    if (!take('"')) fail("a string does not end");
    return out;
  }
  void value(const std::string& path) {
    if (++depth_ > 64) fail("too deep");
    if (take('{')) {
      if (!take('}')) {
        do {
          const std::string key = text();
          if (!take(':')) fail("a colon is missing");
          value(path.empty() ? key : path + "." + key);
        } while (take(','));
        if (!take('}')) fail("an object does not end");
      }
    } else if (take('[')) {
      if (!take(']')) {
        do value(path + "[]");
        while (take(','));
        if (!take(']')) fail("a list does not end");
      }
    } else if (space(), at_ != end_ && *at_ == '"') {
      strings_.emplace_back(path, text());
    } else {
      const char* word = at_;
      while (at_ != end_ && (std::isalnum(static_cast<unsigned char>(*at_)) || std::strchr("+-.", *at_)))
        ++at_;
      if (word == at_) fail("a value is missing");
    }
    --depth_;
  }

  const char *at_, *end_;
  int depth_ = 0;
  std::vector<std::pair<std::string, std::string>> strings_;
};

std::string env(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

void split(const std::string& list, std::vector<fs::path>& out, const char* suffix = "") {
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ':');)
    if (!part.empty()) out.push_back(fs::path(part + suffix));
}

// What is wrong with a manifest, or nothing.
std::string inspect(const fs::path& file) {
  std::ifstream in(file);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) {
    std::error_code none;
    return fs::exists(file, none) ? "cannot be read" : "there is no such file";
  }
  try {
    const Json json(text.str());
    const std::string* library = json.find("ICD.library_path");
    if (!library) return "names no ICD.library_path";
    // A bare name is looked up by the system, a relative path from the manifest.
    const bool bare = library->find('/') == std::string::npos;
    const std::string path = bare ? *library : (file.parent_path() / *library).string();
    void* handle = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (!handle) {
      const char* why = dlerror();
      return "its driver does not load: " + std::string(why ? why : path);
    }
    dlclose(handle);
  } catch (const std::exception& error) {
    return std::string("is not valid JSON: ") + error.what();
  }
  return {};
}

void list_folder(const fs::path& folder, std::vector<fs::path>& files) {
  std::error_code failed;
  std::vector<fs::path> found;
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed))
    if (it->path().extension() == ".json") found.push_back(it->path());
  std::sort(found.begin(), found.end());
  files.insert(files.end(), found.begin(), found.end());
}

std::vector<fs::path> manifest_files() {
  std::vector<fs::path> named, files;
  std::string only = env("VK_DRIVER_FILES");
  if (only.empty()) only = env("VK_ICD_FILENAMES");
  if (!only.empty()) {
    split(only, named);
  } else {
    split(env("VK_ADD_DRIVER_FILES"), named);
    const std::string home = env("HOME");
    const auto either = [](std::string value, std::string fallback) {
      return value.empty() ? fallback : value;
    };
    constexpr const char* tail = "/vulkan/icd.d";
    split(either(env("XDG_CONFIG_HOME"), home.empty() ? "" : home + "/.config"), named, tail);
    split(either(env("XDG_CONFIG_DIRS"), "/etc/xdg"), named, tail);
    split("/usr/local/etc:/etc", named, tail);
    split(either(env("XDG_DATA_HOME"), home.empty() ? "" : home + "/.local/share"), named, tail);
    split(either(env("XDG_DATA_DIRS"), "/usr/local/share:/usr/share"), named, tail);
  }
  for (const fs::path& path : named) {
    std::error_code none;
    if (fs::is_directory(path, none)) {
      list_folder(path, files);
    } else if (path.filename() != "icd.d") {
      files.push_back(path);  // named by hand: listed even where it is missing
    }
  }
  return files;
}

}  // namespace

std::vector<std::string> list_drivers() {
  std::vector<std::string> out;
  for (const fs::path& file : manifest_files()) {
    const std::string why = inspect(file);
    const std::string line = file.string() + (why.empty() ? "" : ": " + why);
    if (std::find(out.begin(), out.end(), line) == out.end()) out.push_back(line);
  }
  return out;
}

}  // namespace attn::vulkan
