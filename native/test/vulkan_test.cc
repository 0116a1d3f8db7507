// The Vulkan backend's memory and stream on a real device (any; Mesa's lavapipe in CI), under the validation
// layer: every case ends with no message.
#include <numeric>

#include "vulkan/ranges.h"
#include "vulkan_fixture.h"

using namespace attn::vulkan;
using namespace attn::vulkan::test;

TEST_CASE("ranges join, and know what overlaps") {
  Ranges ranges;
  CHECK(!ranges.overlaps({0, 100}));
  ranges.add({10, 20});
  ranges.add({30, 40});
  CHECK(!ranges.overlaps({20, 30}));
  CHECK(!ranges.overlaps({0, 10}));
  CHECK(ranges.overlaps({19, 21}));
  CHECK(ranges.overlaps({0, 100}));
  CHECK(!ranges.overlaps({15, 15}));
  ranges.add({20, 30});
  CHECK(ranges.overlaps({22, 23}));
  CHECK(!ranges.overlaps({40, 50}));
  ranges.add({5, 50});
  CHECK(ranges.overlaps({5, 6}));
  CHECK(!ranges.overlaps({50, 60}));
}

TEST_CASE("bytes go up and come back, on every memory path") {
  for (const std::string path : {"none", "rebar", "staged"}) {
    CAPTURE(path);
    const Checked device({.fault = path});
    CHECK(device->caps().unified == (path == "none" && survey().devices[0].unified));
    for (const uint64_t bytes : {1ull, 3ull, 4096ull, 100'001ull, (4ull << 20), (23ull << 20) + 5}) {
      CAPTURE(bytes);
      std::vector<uint8_t> sent(bytes), got(bytes);
      for (size_t i = 0; i < bytes; ++i) sent[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
      Memory* memory = device->allocate(bytes);
      device->upload(memory, 0, sent.data(), bytes);
      device->download(memory, 0, got.data(), bytes);
      CHECK(sent == got);
      device->release(memory);
    }
    CHECK(device->stats().live_bytes == 0);
  }
}

TEST_CASE("dependent launches are ordered, independent ones are not") {
  const Checked device;
  constexpr uint32_t kWords = 10'000;
  Memory* a = device->allocate(kWords * 8);
  const auto barriers = device->stats().barriers;
  // Two halves that do not touch: no barrier. Then the same halves again: one barrier serves both.
  fill(*device.device, a, 0, kWords, 1);
  fill(*device.device, a, 40'192, 5'000, 2);
  CHECK(device->stats().barriers == barriers);
  fill(*device.device, a, 0, kWords, 3);
  fill(*device.device, a, 40'192, 5'000, 4);
  CHECK(device->stats().barriers == barriers + 1);
  CHECK(wrong(read(*device.device, a, kWords), 3) == 0);
  CHECK(wrong(read(*device.device, a, 5'000, 40'192), 4) == 0);
  // A long chain of overwrites ends with the last value, across several submits.
  for (uint32_t i = 0; i < 1000; ++i) fill(*device.device, a, 0, 512, i);
  CHECK(wrong(read(*device.device, a, 512), 999) == 0);
  CHECK(device->stats().submits > 3);
  device->release(a);
}

TEST_CASE("memory is handed out again at once, and uploads wait or queue for the work before them") {
  for (const std::string path : {"none", "rebar", "staged"}) {
    CAPTURE(path);
    const Checked device({.fault = path});
    constexpr uint32_t kWords = 1 << 20;
    const std::vector<uint32_t> small(16, 7), large((6 << 20) / 4, 9);
    for (uint32_t i = 0; i < 8; ++i) {
      Memory* memory = device->allocate(kWords * 8ull);
      fill(*device.device, memory, 0, kWords * 2, 100 + i);
      device->upload(memory, 64, small.data(), 64);  // after the fill, though the queue has not run it
      device->release(memory);
      Memory* again = device->allocate(kWords * 8ull);
      CHECK(again == memory);
      auto words = read(*device.device, again, kWords * 2);
      CHECK(std::count(words.begin(), words.end(), 7u) == 16);
      CHECK(words[15] == 100 + i);
      CHECK(words[16] == 7);
      fill(*device.device, again, 0, kWords * 2, 200 + i);
      device->upload(again, 0, large.data(), large.size() * 4);
      words = read(*device.device, again, kWords * 2);
      CHECK(static_cast<size_t>(std::count(words.begin(), words.end(), 9u)) == large.size());
      CHECK(words.back() == 200 + i);
      device->release(again);
    }
  }
}

TEST_CASE("the host may run far ahead of the queue") {
  const Checked device({.fault = "staged"});
  constexpr uint32_t kWords = 8 << 20;
  Memory* busy = device->allocate(kWords * 4ull);
  Memory* small = device->allocate(4096);
  for (uint32_t i = 0; i < 4; ++i) fill(*device.device, busy, 0, kWords, i);
  for (uint32_t i = 0; i < 30; ++i) {  // more submits than the ring has command buffers
    fill(*device.device, small, 0, 1024, i);
    device->submit();
  }
  CHECK(wrong(read(*device.device, small, 1024), 29) == 0);
  // More bytes than the staging pieces hold, behind work that keeps all of them waiting.
  std::vector<uint32_t> sent(6 << 20);
  std::iota(sent.begin(), sent.end(), 0u);
  Memory* target = device->allocate(sent.size() * 4);
  for (uint32_t i = 0; i < 4; ++i) fill(*device.device, busy, 0, kWords, i);
  device->upload(target, 0, sent.data(), sent.size() * 4);
  CHECK(read(*device.device, target, sent.size()) == sent);
  for (Memory* m : {busy, small, target}) device->release(m);
}

TEST_CASE("waiting for one memory leaves unrelated work unsubmitted") {
  const Checked device;
  if (!device->caps().unified) return;
  Memory* first = device->allocate(4096);
  Memory* second = device->allocate(4096);
  fill(*device.device, first, 0, 1024, 21);
  device->submit();
  fill(*device.device, second, 0, 1024, 22);
  const auto submits = device->stats().submits;
  device->wait(first);
  CHECK(device->stats().submits == submits);
  CHECK(static_cast<uint32_t*>(device->mapped(first))[1023] == 21);
  device->wait(second);
  CHECK(device->stats().submits == submits + 1);
  CHECK(static_cast<uint32_t*>(device->mapped(second))[1023] == 22);
  device->release(first);
  device->release(second);
}

TEST_CASE("grids beyond the device's limit are folded, and long launches are split") {
  const Checked device;
  constexpr uint32_t kWords = 65535 * 64 + 64 * 3 + 1;  // 65539 groups of 64
  Memory* memory = device->allocate(kWords * 4ull + 64);
  fill(*device.device, memory, 0, kWords + 16, 0);
  fill(*device.device, memory, 0, kWords, 5);
  auto words = read(*device.device, memory, kWords + 16);
  CHECK(std::count(words.begin(), words.end(), 5u) == kWords);
  CHECK(words[kWords - 1] == 5);
  CHECK(words[kWords] == 0);
  // An estimate of 0.1 s becomes five launches in as many submits, with no barrier between them.
  device->finish();
  const Stats before = device->stats();
  fill(*device.device, memory, 0, kWords, 6, 0.1);
  CHECK(device->stats().dispatches - before.dispatches == 5);
  CHECK(device->stats().submits - before.submits >= 4);
  CHECK(device->stats().barriers == before.barriers);
  CHECK(wrong(read(*device.device, memory, kWords), 6) == 0);
  device->release(memory);
}

TEST_CASE("a launch that cannot be is refused before the driver sees it") {
  const Checked device;
  const uint32_t spec[] = {kGroup};
  Pipeline* pipeline = device->pipeline("fill", spec);
  CHECK(device->pipeline("fill", spec) == pipeline);
  Memory* memory = device->allocate(1024);
  const std::vector<uint32_t> push(31);
  const Binding whole[] = {{memory, 0, 1024, true}}, beyond[] = {{memory, 0, 2048, true}},
                odd[] = {{memory, 4, 4, true}};
  const auto code = [&](std::span<const Binding> bindings, size_t words, uint64_t groups) {
    return error_of([&] { device->dispatch(pipeline, bindings, {push.data(), words}, groups, 0); }).code;
  };
  CHECK(code({}, 2, 1) == "ATTN_INTERNAL");
  CHECK(code(beyond, 2, 1) == "ATTN_INTERNAL");
  CHECK(code(odd, 2, 1) == "ATTN_INTERNAL");
  CHECK(code(whole, 31, 1) == "ATTN_INTERNAL");
  CHECK(code(whole, 2, 1ull << 32) == "ATTN_DEVICE");
  CHECK(code(whole, 2, 0) == "none");
  CHECK(error_of([&] { device->pipeline("no_such_shader", spec); }).code == "ATTN_INTERNAL");
  const uint32_t huge[] = {1u << 20};
  CHECK(error_of([&] { device->pipeline("fill", huge); }).code == "ATTN_DEVICE");
  device->release(memory);
  CHECK(code(whole, 2, 1) == "ATTN_INTERNAL");
  CHECK(error_of([&] { device->release(memory); }).code == "ATTN_INTERNAL");

  const uint64_t most = device->caps().max_binding_bytes;
  if (most < (uint64_t{1} << 30)) {
    Memory* large = device->allocate(most + 4096);
    const Binding too_much[] = {{large, 0, most + 4096, true}}, tail[] = {{large, most, 4096, true}};
    CHECK(code(too_much, 2, 1) == "ATTN_DEVICE");
    CHECK(code(tail, 2, 1) == "none");
    device->release(large);
  }
}

TEST_CASE("running out of memory is an error that gives figures, and not the end") {
  const Checked device({.memory_budget = 32 << 20});
  std::vector<Memory*> held;
  const auto error = error_of([&] {
    for (;;) held.push_back(device->allocate(1 << 20));
  });
  CHECK(error.code == "ATTN_OUT_OF_MEMORY");
  CHECK(std::string(error.what()).find("budget 32 MiB") != std::string::npos);
  CHECK(held.size() == 32);
  for (Memory* m : held) device->release(m);
  // Kept slabs make room for another size, and for a whole one.
  Memory* large = device->allocate(20 << 20);
  fill(*device.device, large, 0, 1000, 1);
  device->release(large);
  CHECK(error_of([&] { device->allocate(40 << 20); }).code == "ATTN_OUT_OF_MEMORY");
  Memory* small = device->allocate(100);
  fill(*device.device, small, 0, 10, 77);
  CHECK(wrong(read(*device.device, small, 10), 77) == 0);
  device->release(small);
  device->trim();
  CHECK(device->stats().slab_bytes == 0);

  SUBCASE("a refusal of the driver is retried once") {
    const Checked once({.fault = "oom:1"});
    CHECK(error_of([&] { once->release(once->allocate(1 << 20)); }).code == "none");
    const Checked always({.fault = "oom"});
    CHECK(error_of([&] { always->allocate(1 << 20); }).code == "ATTN_OUT_OF_MEMORY");
    CHECK(error_of([&] { always->allocate(1ull << 50); }).code == "ATTN_OUT_OF_MEMORY");
  }
}

TEST_CASE("thousands of allocations of a training loop need no more memory than the first round") {
  const Checked device;
  uint64_t after_first = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<Memory*> held;
    uint32_t seed = 12345;
    for (int i = 0; i < 50; ++i) {
      seed = seed * 1664525 + 1013904223;
      held.push_back(device->allocate(1 + seed % 3'000'000));
      if (i % 3 == 2) {
        device->release(held[held.size() / 2]);
        held.erase(held.begin() + static_cast<long>(held.size() / 2));
      }
    }
    for (Memory* m : held) device->release(m);
    if (round == 0) after_first = device->stats().slab_bytes;
  }
  CHECK(device->stats().slab_bytes == after_first);
  CHECK(device->stats().live_bytes == 0);
}

TEST_CASE("a lost device names what was in flight and stays dead") {
  const Checked device({.fault = "lost:2"});
  Memory* memory = device->allocate(4096);
  fill(*device.device, memory, 0, 16, 1);
  device->finish();
  fill(*device.device, memory, 0, 16, 2);
  fill(*device.device, memory, 0, 16, 3);
  const auto first = error_of([&] { device->finish(); });
  CHECK(first.code == "ATTN_DEVICE_LOST");
  CHECK(std::string(first.what()).find("fill x2") != std::string::npos);
  std::vector<uint32_t> words(16);
  CHECK(error_of([&] { device->download(memory, 0, words.data(), 64); }).what() == std::string(first.what()));
  CHECK(error_of([&] { device->allocate(16); }).code == "ATTN_DEVICE_LOST");
  CHECK(error_of([&] { device->finish(); }).code == "ATTN_DEVICE_LOST");
  device->release(memory);
}
