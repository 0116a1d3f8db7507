// Finding, opening and closing Vulkan devices, whatever the state of loader, drivers and cache files.
#include <fstream>
#include <numeric>
#include <thread>

#include "vulkan_fixture.h"

using namespace attn::vulkan;
using namespace attn::vulkan::test;
namespace fs = std::filesystem;

TEST_CASE("the survey lists a usable device with plausible limits") {
  const Survey found = survey();
  CHECK(found.loader);
  CHECK(!found.drivers.empty());
  REQUIRE(!found.devices.empty());
  const Caps& caps = found.devices[0];
  CHECK(caps.unusable.empty());
  CHECK(caps.uuid.size() == 32);
  CHECK(caps.max_bindings >= 8);
  CHECK(caps.max_group_count[0] >= 65535);
  CHECK(caps.timeline_semaphore);
  CHECK(caps.heap_bytes > 0);
}

TEST_CASE("the survey tells what is wrong with drivers, and never throws") {
  const TemporaryFolder folder;
  const std::string broken = (folder.path / "broken.json").string(),
                    missing = (folder.path / "missing.json").string(),
                    library = (folder.path / "library.json").string();
  std::ofstream(broken) << R"({ "ICD": { "library_path": "libvulkan_lvp.so", )";
  std::ofstream(library) << R"({ "ICD": { "library_path": "./no_such_driver.so", "api_version": "1.3.0" },
                                "file_format_version": "1.0.0" })";
  for (const char* variable : {"VK_DRIVER_FILES", "VK_ICD_FILENAMES"}) {
    const Environment set(variable, broken + ":" + missing + ":" + library);
    const Survey found = survey();
    CHECK(found.loader);
    CHECK(found.devices.empty());
    CHECK(mentions(found.drivers, broken + ": is not valid JSON"));
    CHECK(mentions(found.drivers, missing + ": there is no such file"));
    CHECK(mentions(found.drivers, library + ": its driver does not load"));
    CHECK(mentions(found.attempts, "devices could not be listed"));
    CHECK(error_of([] { Device::open({}); }).code == "ATTN_DEVICE");
  }
}

TEST_CASE("without a Vulkan loader the survey says so, and opening fails with a hint") {
  const Environment set("ATTN_VK_LOADER", "libno-such-vulkan.so.1");
  const Survey found = survey();
  CHECK(!found.loader);
  CHECK(found.devices.empty());
  CHECK(found.loader_error.find("libno-such-vulkan.so.1") != std::string::npos);
  const auto error = error_of([] { Device::open({}); });
  CHECK(error.code == "ATTN_DEVICE");
  CHECK(error.hint.find("libvulkan1") != std::string::npos);
}

TEST_CASE("validation that is not installed is said to be missing") {
  const TemporaryFolder nowhere;
  const Environment set("VK_LAYER_PATH", nowhere.path.string());
  const auto error = error_of([] { open_device(); });
  CHECK(error.code == "ATTN_DEVICE");
  CHECK(error.hint.find("vulkan-validationlayers") != std::string::npos);
}

TEST_CASE("a device index that does not exist is refused") {
  const auto error = error_of([] { open_device({.index = 99}); });
  CHECK(error.code == "ATTN_DEVICE");
  CHECK(std::string(error.what()).find("99") != std::string::npos);
}

TEST_CASE("the pipeline cache is kept, and rebuilt when it is damaged") {
  const TemporaryFolder folder;
  std::vector<std::string> warnings;
  const Options options{.cache_folder = (folder.path / "deep" / "cache").string(),
                        .warn = [&](const std::string& text) { warnings.push_back(text); }};
  const auto run = [&] {
    const Checked device(options);
    const uint32_t spec[] = {kGroup};
    device->pipeline("fill", spec);
  };
  const auto file = [&] {
    std::vector<fs::path> files(fs::directory_iterator(options.cache_folder), fs::directory_iterator{});
    REQUIRE(files.size() == 1);  // no draft is left behind
    return files[0];
  };
  run();
  CHECK(warnings.empty());
  const auto size = fs::file_size(file());
  run();
  CHECK(warnings.empty());
  const auto damaged = [&](auto&& damage) {
    warnings.clear();
    damage();
    run();
    CHECK(mentions(warnings, "ignored and rebuilt"));
    CHECK(fs::file_size(file()) == size);
    warnings.clear();
    run();
    CHECK(warnings.empty());
  };
  damaged([&] { fs::resize_file(file(), size - 1); });
  damaged([&] { fs::resize_file(file(), 3); });
  damaged([&] { std::ofstream(file(), std::ios::trunc) << "not a cache at all, but long enough to be one"; });
  damaged([&] {
    std::fstream out(file(), std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(-5, std::ios::end);
    out.put('!');
  });
  damaged([&] {  // a size that would take all memory to read
    std::fstream out(file(), std::ios::in | std::ios::out | std::ios::binary);
    out.seekp(8);
    out.write("\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
  });
}

TEST_CASE("several devices live in one process, and in several threads") {
  const auto work = [](uint32_t pattern, size_t& bad) {
    auto device = open_device();
    Memory* memory = device->allocate(1 << 16);
    for (uint32_t i = 0; i < 50; ++i) {
      fill(*device, memory, 0, 1 << 14, pattern + i);
      bad += wrong(read(*device, memory, 1 << 14), pattern + i);
    }
    bad += device->take_messages().size();
  };
  size_t bad[3] = {};
  const Checked outer;
  Memory* memory = outer->allocate(4096);
  fill(*outer.device, memory, 0, 1024, 11);
  std::thread first(work, 1000, std::ref(bad[0])), second(work, 2000, std::ref(bad[1]));
  first.join();
  second.join();
  work(3000, bad[2]);
  CHECK(std::accumulate(bad, bad + 3, size_t{0}) == 0);
  CHECK(wrong(read(*outer.device, memory, 1024), 11) == 0);
}
