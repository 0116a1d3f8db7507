// What is kept of the router between processes, and every way in which the file can be wrong.
#include "engine/route_store.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

using namespace attn;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "attn-route-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
};

const RouteKey kKey{"0123456789abcdef", "uuid-1", "llvmpipe 22.3.6\tMesa", "Some CPU\n@ 3 GHz", 2};

RouteData example() {
  RouteData d;
  d.version = "0.1.0";
  d.calibration.launch = {0.25e-6, 17.3e-6};
  d.calibration.rates = {{Family::gemm, DType::bf16, Side::gpu, 2.5e9, 1.2e7, 0.1 + 0.2},
                         {Family::map, DType::f32, Side::cpu, 0, 4096, 1e-7}};
  d.calibration.transfers = {{Direction::upload, 1e6, 1e-4}, {Direction::download, 1e6, 2e-4}};
  d.observed = {{"add\\tab\there", Family::map, DType::f32, Side::cpu, 1e6, 1.2e7, 1.234e-3, 77}};
  d.probes = {{"matmul.shared", ""}, {"softmax.subgroup", "got 1\nexpected 2\\"}};
  return d;
}

std::string read(const std::string& path) {
  std::ostringstream out;
  out << std::ifstream(path).rdbuf();
  return out.str();
}
void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

// The file with one line replaced or added before the end, under a checksum that is right.
std::string signed_text(std::string body) { return body + "end\t" + KernelHash().add(body).hex() + "\n"; }
std::string body_of(const std::string& text) { return text.substr(0, text.rfind("end\t")); }

}  // namespace

TEST_CASE("what is saved is loaded, to the last bit") {
  Folder folder;
  const RouteStore store((folder.path / "deep" / "er").string(), kKey);
  CHECK(!store.load().data);
  CHECK(store.load().warning.empty());  // there is none yet: nothing to warn of
  const RouteData d = example();
  CHECK(store.save(d) == "");
  const RouteLoad got = store.load();
  CHECK(got.warning == "");
  REQUIRE(got.data);
  CHECK(got.data->version == "0.1.0");
  CHECK(got.data->created.size() == 20);
  CHECK(got.data->calibration.launch == d.calibration.launch);
  REQUIRE(got.data->calibration.rates.size() == 2);
  const RatePoint& r = got.data->calibration.rates[0];
  CHECK(r.family == Family::gemm);
  CHECK(r.dtype == DType::bf16);
  CHECK(r.side == Side::gpu);
  CHECK(r.flops == 2.5e9);
  CHECK(r.bytes == 1.2e7);
  CHECK(r.seconds == 0.1 + 0.2);
  REQUIRE(got.data->calibration.transfers.size() == 2);
  CHECK(got.data->calibration.transfers[1].direction == Direction::download);
  CHECK(got.data->calibration.transfers[1].seconds == 2e-4);
  REQUIRE(got.data->observed.size() == 1);
  CHECK(got.data->observed[0].op == d.observed[0].op);
  CHECK(got.data->observed[0].seconds == 1.234e-3);
  CHECK(got.data->observed[0].count == 77);
  CHECK(got.data->probes == d.probes);

  // Saving again replaces the file whole, keeps its date and leaves nothing beside it.
  RouteData again = *got.data;
  again.probes["matmul.shared"] = "device lost";
  CHECK(store.save(again) == "");
  CHECK(store.load().data->probes.at("matmul.shared") == "device lost");
  CHECK(store.load().data->created == got.data->created);
  CHECK(std::distance(fs::directory_iterator(fs::path(store.path()).parent_path()),
                      fs::directory_iterator()) == 1);
}

TEST_CASE("each part of the key has its own file, and a file of another key is refused") {
  Folder folder;
  const RouteStore store(folder.path.string(), kKey);
  REQUIRE(store.save(example()) == "");
  for (int part = 0; part < 5; part++) {
    RouteKey k = kKey;
    if (part == 0) k.kernels += "0";
    if (part == 1) k.device_uuid += "0";
    if (part == 2) k.driver += "0";
    if (part == 3) k.cpu += "0";
    if (part == 4) k.threads++;
    const RouteStore other(folder.path.string(), k);
    CHECK(other.path() != store.path());
    CHECK(!other.load().data);
    fs::copy_file(store.path(), other.path());
    CHECK(!other.load().data);
    CHECK(other.load().warning.find("belongs to another machine") != std::string::npos);
    CHECK(other.save(example()) == "");  // rebuilt
    CHECK(other.load().data);
  }
}

TEST_CASE("a damaged file is ignored with its reason") {
  Folder folder;
  const RouteStore store(folder.path.string(), kKey);
  REQUIRE(store.save(example()) == "");
  const std::string good = read(store.path()), body = body_of(good);
  const auto refused = [&](const std::string& text, const std::string& why) {
    write(store.path(), text);
    const RouteLoad got = store.load();
    INFO(got.warning);
    CHECK(!got.data);
    CHECK(got.warning.find(why) != std::string::npos);
    CHECK(got.warning.find(store.path()) != std::string::npos);
  };
  for (size_t length = 0; length < good.size(); length++) {  // cut short anywhere
    write(store.path(), good.substr(0, length));
    const RouteLoad got = store.load();
    CHECK(!got.data);
    CHECK(!got.warning.empty());
  }
  for (size_t at = 0; at < good.size(); at += 3) {  // any byte changed
    std::string text = good;
    text[at] = static_cast<char>(text[at] ^ 1);
    write(store.path(), text);
    CHECK(!store.load().data);
  }
  refused("", "empty");
  refused("\n", "not a route file");
  refused(std::string(1000, '\0'), "not a route file");
  refused("{\"json\": true}", "not a route file");
  refused("attn-vk-routes\t2\n", "schema 2");
  refused("attn-vk-routes\t99999999999999999999\n", "not a number");
  refused("attn-vk-routes\t1\nend\t\n", "checksum");
  refused(signed_text("attn-vk-routes\t1\n"), "key");
  refused(good + good, "checksum");

  // Rightly signed, hostile all the same.
  const auto hostile = [&](const std::string& line, const std::string& why) {
    refused(signed_text(body + line + "\n"), why);
  };
  for (const char* bad : {"nan", "inf", "-1", "-inf", "1e300", "0", "1e6"})
    hostile("rate\tmap\tfloat32\tcpu\t1\t1\t" + std::string(bad), "impossible");
  for (const char* bad : {"", "1e999", "0x10", "1 ", "one", "1,5"})
    hostile("copy\tupload\t1\t" + std::string(bad), "not a number");
  hostile("copy\tupload\t-1\t1", "impossible figure");
  hostile("copy\tsideways\t1\t1", "unknown direction");
  hostile("launch\tcpu\t-1e-6", "impossible");
  hostile("launch\ttpu\t1e-6", "unknown side");
  hostile("rate\tmap\tfloat99\tcpu\t1\t1\t1", "unknown dtype");
  hostile("rate\tfft\tfloat32\tcpu\t1\t1\t1", "unknown family");
  hostile("ran\tadd\tmap\tfloat32\tcpu\t1\t1\tnan\t1", "impossible");
  hostile("ran\tadd\tmap\tfloat32\tcpu\t1\t1\t1\t0", "never made");
  hostile("ran\tadd\tmap\tfloat32\tcpu\t1\t1\t1\t-1", "not a number");
  hostile("ran\tadd\tmap\tfloat32\tcpu\t1\t1\t1\t99999999999", "not a number");
  hostile("ran\tadd", "of 2 fields");
  hostile("probe\tbroken\\x\tno", "escape");
  hostile("probe\tbroken\\", "fields");
  hostile("surprise", "unknown line");
  hostile("", "unknown line");
  std::string many;
  for (int i = 0; i < 200'001; i++) many += "probe\ta\t\n";
  hostile(many + "probe\ta\t", "too many lines");
  refused(std::string((16u << 20) + 1, 'x'), "larger");

  CHECK(store.save(example()) == "");  // and the next save mends it
  CHECK(store.load().warning == "");
}

TEST_CASE("a path that cannot be read or written is a warning") {
  Folder folder;
  const RouteStore store(folder.path.string(), kKey);
  fs::create_directory(store.path());  // a folder lies where the file belongs
  CHECK(store.load().warning.find("not a regular file") != std::string::npos);
  CHECK(store.save(example()).find("could not be kept") != std::string::npos);
  CHECK(std::distance(fs::directory_iterator(folder.path), fs::directory_iterator()) == 1);

  write((folder.path / "file").string(), "x");
  const RouteStore under((folder.path / "file" / "cache").string(),
                         kKey);  // a file lies where the folder belongs
  CHECK(!under.load().data);
  CHECK(under.save(example()).find("could not be kept") != std::string::npos);
  const RouteStore proc("/proc/attn-vk", kKey);
  CHECK(proc.save(example()).find("could not be kept") != std::string::npos);
  if (geteuid() != 0) {  // root writes anywhere
    Folder closed;
    REQUIRE(chmod(closed.path.c_str(), 0500) == 0);
    CHECK(RouteStore(closed.path.string(), kKey).save(example()).find("Permission denied") !=
          std::string::npos);
    REQUIRE(chmod(closed.path.c_str(), 0700) == 0);
  }

  const RouteStore nowhere("", kKey);
  CHECK(nowhere.path() == "");
  CHECK(nowhere.save(example()) == "");
  CHECK(!nowhere.load().data);
}

TEST_CASE("the cache folder follows the environment") {
  const auto get = [](const char* name) {
    const char* v = std::getenv(name);
    return std::optional<std::string>(v ? std::optional<std::string>(v) : std::nullopt);
  };
  const char* names[] = {"ATTN_VK_CACHE", "XDG_CACHE_HOME", "HOME"};
  std::optional<std::string> before[3];
  for (int i = 0; i < 3; i++) before[i] = get(names[i]);
  setenv("ATTN_VK_CACHE", "/a", 1);
  setenv("XDG_CACHE_HOME", "/x", 1);
  setenv("HOME", "/h", 1);
  CHECK(cache_folder() == "/a");
  setenv("ATTN_VK_CACHE", "", 1);
  CHECK(cache_folder() == "/x/attn-vk");
  setenv("XDG_CACHE_HOME", "relative", 1);  // the XDG specification: ignore it
  CHECK(cache_folder() == "/h/.cache/attn-vk");
  unsetenv("HOME");
  CHECK(cache_folder() == "");
  for (int i = 0; i < 3; i++) before[i] ? setenv(names[i], before[i]->c_str(), 1) : unsetenv(names[i]);
}

TEST_CASE("the kernel hash tells kernels apart") {
  const uint32_t a[] = {1, 2, 3}, b[] = {1, 2, 4};
  const auto hash = [](auto&&... parts) {
    KernelHash h;
    (h.add(parts), ...);
    return h.hex();
  };
  const std::span<const uint32_t> sa(a), sb(b);
  CHECK(hash(std::string_view("add"), sa) == hash(std::string_view("add"), sa));
  CHECK(hash(std::string_view("add"), sa) != hash(std::string_view("add"), sb));
  CHECK(hash(std::string_view("add"), sa) != hash(std::string_view("sub"), sa));
  CHECK(hash(std::string_view("ab"), std::string_view("c")) !=
        hash(std::string_view("a"), std::string_view("bc")));
  CHECK(hash(std::string_view("")).size() == 16);
  CHECK(!cpu_model().empty());
}
