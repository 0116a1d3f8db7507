// The whole surface between JavaScript and the engine. No function here is named after an op: ops are
// descriptions that arrive through prepare() and numbers that arrive in instruction blocks.
#include <napi.h>

#include "engine/cpu_info.h"
#include "node/engine.h"
#include "node/values.h"

namespace {

using namespace attn;
using namespace attn::node;

class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) {
    DefineAddon(
        exports,
        {InstanceValue("Engine", Engine::constructor(env, running)), InstanceMethod<&Addon::survey>("survey"),
         InstanceMethod<&Addon::cpu_info>("cpuInfo"), InstanceMethod<&Addon::shut_down>("shutDown")});
  }

 private:
  std::set<Engine*> running;

  // process.exit() runs no cleanup hooks, but the destructors of the libraries that the executors use.
  Napi::Value shut_down(const Napi::CallbackInfo& info) {
    for (Engine* engine : std::set<Engine*>(running)) engine->close(info.Env());
    return info.Env().Undefined();
  }
  Napi::Value survey(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return to_js(info.Env(), vulkan::survey()); });
  }
  Napi::Value cpu_info(const Napi::CallbackInfo& info) {
    return guarded(info.Env(), [&] { return to_js(info.Env(), engine::cpu_info()); });
  }
};

}  // namespace

using AttnAddon = Addon;
NODE_API_NAMED_ADDON(attn_vk, AttnAddon)
