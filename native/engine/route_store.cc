#include "route_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace attn {
namespace {

namespace fs = std::filesystem;

// Lines of tab-separated fields: the first names the kind. Text is escaped, so neither tab nor newline occurs
// in it.
constexpr std::string_view kMagic = "attn-vk-routes";
constexpr uintmax_t kLargestFile = 16u << 20;
constexpr size_t kMostLines = 200'000;

struct Corrupt {
  std::string what;
};

std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\\\";
    else if (c == '\t')
      out += "\\t";
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else
      out += c;
  }
  return out;
}

std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] != '\\') {
      out += text[i];
      continue;
    }
    if (++i == text.size()) throw Corrupt{"a broken escape"};
    switch (text[i]) {
      case '\\':
        out += '\\';
        break;
      case 't':
        out += '\t';
        break;
      case 'n':
        out += '\n';
        break;
      case 'r':
        out += '\r';
        break;
      default:
        throw Corrupt{"a broken escape"};
    }
  }
  return out;
}

// Shortest text that reads back as the same double, whatever the locale.
std::string number(double x) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, x).ptr};
}

template <class T>
T parse(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    throw Corrupt{"'" + std::string(text.substr(0, 40)) + "' is not a number"};
  return value;
}

double parse_amount(std::string_view text) {  // 0 or more
  const double x = parse<double>(text);
  if (!std::isfinite(x) || x < 0 || x > 1e30)
    throw Corrupt{"an impossible figure (" + std::string(text.substr(0, 40)) + ")"};
  return x;
}

double parse_time(std::string_view text) {  // seconds of one op: more than none, less than a day
  const double x = parse_amount(text);
  if (x <= 0 || x > 86400) throw Corrupt{"an impossible time (" + std::string(text.substr(0, 40)) + " s)"};
  return x;
}

template <class T>
T parse_code(std::string_view text, size_t count, const char* what) {
  for (size_t i = 0; i < count; i++)
    if (text == name_of(static_cast<T>(i))) return static_cast<T>(i);
  throw Corrupt{"unknown " + std::string(what) + " '" + std::string(text.substr(0, 40)) + "'"};
}

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t start = 0;;) {
    const size_t tab = line.find('\t', start);
    fields.push_back(line.substr(start, tab - start));
    if (tab == line.npos) return fields;
    start = tab + 1;
  }
}

std::string key_line(const RouteKey& k) {
  return "key\t" + std::to_string(RouteStore::kSchema) + "\t" + escape(k.kernels) + "\t" +
         escape(k.device_uuid) + "\t" + escape(k.driver) + "\t" + escape(k.cpu) + "\t" +
         std::to_string(k.threads);
}

std::string checksum(std::string_view text) { return KernelHash().add(text).hex(); }

std::string write_out(const RouteKey& key, const RouteData& data) {
  std::ostringstream out;
  out << kMagic << '\t' << RouteStore::kSchema << '\n' << key_line(key) << '\n';
  out << "written\t" << escape(data.version) << '\t' << escape(data.created) << '\n';
  for (const Side s : {Side::cpu, Side::gpu})
    if (const double t = data.calibration.launch[static_cast<size_t>(s)]; t > 0)
      out << "launch\t" << name_of(s) << '\t' << number(t) << '\n';
  for (const auto& p : data.calibration.rates)
    out << "rate\t" << name_of(p.family) << '\t' << name_of(p.dtype) << '\t' << name_of(p.side) << '\t'
        << number(p.flops) << '\t' << number(p.bytes) << '\t' << number(p.seconds) << '\n';
  for (const auto& p : data.calibration.transfers)
    out << "copy\t" << name_of(p.direction) << '\t' << number(p.bytes) << '\t' << number(p.seconds) << '\n';
  for (const auto& o : data.observed)
    out << "ran\t" << escape(o.op) << '\t' << name_of(o.family) << '\t' << name_of(o.dtype) << '\t'
        << name_of(o.side) << '\t' << number(o.flops) << '\t' << number(o.bytes) << '\t' << number(o.seconds)
        << '\t' << o.count << '\n';
  for (const auto& [variant, failure] : data.probes)
    out << "probe\t" << escape(variant) << '\t' << escape(failure) << '\n';
  std::string text = std::move(out).str();
  text += "end\t" + checksum(text) + "\n";
  return text;
}

void read_line(std::span<const std::string_view> f, RouteData& data) {
  const auto expect = [&](size_t n) {
    if (f.size() != n)
      throw Corrupt{"a '" + std::string(f[0].substr(0, 40)) + "' line of " + std::to_string(f.size()) +
                    " fields"};
  };
  const auto side = [](std::string_view t) { return parse_code<Side>(t, 2, "side"); };
  const auto dtype = [](std::string_view t) { return parse_code<DType>(t, kDTypes, "dtype"); };
  const auto family = [](std::string_view t) { return parse_code<Family>(t, kFamilies, "family"); };
  if (f[0] == "written") {
    expect(3);
    data.version = unescape(f[1]);
    data.created = unescape(f[2]);
  } else if (f[0] == "launch") {
    expect(3);
    data.calibration.launch[static_cast<size_t>(side(f[1]))] = parse_time(f[2]);
  } else if (f[0] == "rate") {
    expect(7);
    data.calibration.rates.push_back(
        {family(f[1]), dtype(f[2]), side(f[3]), parse_amount(f[4]), parse_amount(f[5]), parse_time(f[6])});
  } else if (f[0] == "copy") {
    expect(4);
    data.calibration.transfers.push_back(
        {parse_code<Direction>(f[1], 2, "direction"), parse_amount(f[2]), parse_time(f[3])});
  } else if (f[0] == "ran") {
    expect(9);
    const auto count = parse<uint32_t>(f[8]);
    if (count == 0) throw Corrupt{"an observation that was never made"};
    data.observed.push_back({unescape(f[1]), family(f[2]), dtype(f[3]), side(f[4]), parse_amount(f[5]),
                             parse_amount(f[6]), parse_time(f[7]), count});
  } else if (f[0] == "probe") {
    expect(3);
    data.probes[unescape(f[1])] = unescape(f[2]);
  } else {
    throw Corrupt{"an unknown line '" + std::string(f[0].substr(0, 40)) + "'"};
  }
}

RouteData read_in(const RouteKey& key, std::string_view text) {
  const std::string_view first = text.substr(0, text.find('\n'));
  const auto head = fields_of(first);
  if (head.size() != 2 || head[0] != kMagic) throw Corrupt{"not a route file"};
  const int schema = parse<int>(head[1]);
  if (schema != RouteStore::kSchema)
    throw Corrupt{"written in schema " + std::to_string(schema) + ", this build reads " +
                  std::to_string(RouteStore::kSchema)};
  const size_t end = text.rfind("\nend\t");
  if (end == text.npos || text.back() != '\n') throw Corrupt{"cut short"};
  const std::string_view body = text.substr(0, end + 1);
  if (text.substr(end + 5, text.size() - end - 6) != checksum(body)) throw Corrupt{"its checksum is wrong"};

  RouteData data;
  size_t lines = 0;
  bool mine = false;
  for (size_t start = first.size() + 1; start < body.size();) {
    const size_t stop = body.find('\n', start);
    const std::string_view line = body.substr(start, stop - start);
    start = stop + 1;
    if (++lines > kMostLines) throw Corrupt{"too many lines"};
    if (lines == 1) {
      mine = line == key_line(key);
      if (!mine) throw Corrupt{"it belongs to another machine, driver or build"};
    } else {
      read_line(fields_of(line), data);
    }
  }
  if (!mine) throw Corrupt{"its key is missing"};
  return data;
}

std::string now() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&t, &utc);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc)};
}

std::string because(int error) { return std::strerror(error); }

}  // namespace

// ---- The pieces of a key

std::string cache_folder() {
  const auto env = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (auto own = env("ATTN_VK_CACHE"); !own.empty()) return own;
  if (auto xdg = env("XDG_CACHE_HOME"); !xdg.empty() && xdg[0] == '/') return xdg + "/attn-vk";
  if (auto home = env("HOME"); !home.empty()) return home + "/.cache/attn-vk";
  return {};
}

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name"))
      if (const size_t colon = line.find(": "); colon != line.npos) return line.substr(colon + 2);
  return "unknown";
}

// A length goes in first, so that no two lists of pieces give one stream of bytes.
KernelHash& KernelHash::add(std::string_view text) {
  const uint64_t length = text.size();
  const auto mix = [&](uint8_t byte) { state_ = (state_ ^ byte) * 0x100000001b3u; };
  for (int i = 0; i < 8; i++) mix(static_cast<uint8_t>(length >> 8 * i));
  for (const char c : text) mix(static_cast<uint8_t>(c));
  return *this;
}

KernelHash& KernelHash::add(std::span<const uint32_t> words) {
  return add(std::string_view(reinterpret_cast<const char*>(words.data()), words.size_bytes()));
}

std::string KernelHash::hex() const {
  std::string text(16, '0');
  for (int i = 0; i < 16; i++) text[static_cast<size_t>(i)] = "0123456789abcdef"[state_ >> (60 - 4 * i) & 15];
  return text;
}

// ---- The file

RouteStore::RouteStore(std::string folder, RouteKey key) : folder_(std::move(folder)), key_(std::move(key)) {
  if (!folder_.empty()) path_ = folder_ + "/routes-" + checksum(key_line(key_)) + ".txt";
}

RouteLoad RouteStore::load() const {
  if (path_.empty()) return {};
  const auto ignored = [&](const std::string& why) {
    return RouteLoad{{}, "route file " + path_ + " is ignored and will be rebuilt: " + why};
  };
  try {
    std::error_code error;
    const auto status = fs::status(path_, error);
    if (status.type() == fs::file_type::not_found) return {};
    if (error) return ignored(error.message());
    if (status.type() != fs::file_type::regular) return ignored("not a regular file");
    const auto size = fs::file_size(path_, error);
    if (error) return ignored(error.message());
    if (size > kLargestFile) return ignored("larger than any that this program writes");
    std::ifstream file(path_, std::ios::binary);
    if (!file) return ignored(because(errno));
    std::string text(static_cast<size_t>(size), '\0');
    file.read(text.data(), static_cast<std::streamsize>(size));
    text.resize(static_cast<size_t>(file.gcount()));
    if (text.empty()) return ignored("it is empty");
    return {read_in(key_, text), {}};
  } catch (const Corrupt& corrupt) {
    return ignored(corrupt.what);
  } catch (const std::exception& error) {
    return ignored(error.what());
  }
}

std::string RouteStore::save(const RouteData& data) const {
  if (path_.empty()) return {};
  const auto failed = [&](const std::string& why) {
    return "what the router learnt could not be kept in " + path_ + ": " + why;
  };
  try {
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) return failed(error.message());
    RouteData dated = data;
    if (dated.created.empty()) dated.created = now();
    const std::string text = write_out(key_, dated);

    std::string beside = path_ + ".XXXXXX";
    const int file = mkstemp(beside.data());
    if (file < 0) return failed(because(errno));
    int trouble = 0;
    for (size_t done = 0; done < text.size() && !trouble;) {
      const ssize_t n = write(file, text.data() + done, text.size() - done);
      if (n >= 0)
        done += static_cast<size_t>(n);
      else if (errno != EINTR)
        trouble = errno;
    }
    if (close(file) != 0 && !trouble) trouble = errno;
    if (!trouble && rename(beside.c_str(), path_.c_str()) != 0) trouble = errno;
    if (trouble) {
      unlink(beside.c_str());
      return failed(because(trouble));
    }
    return {};
  } catch (const std::exception& e) {
    return failed(e.what());
  }
}

}  // namespace attn
