{
  # node-gyp ends in the same CMake build: a target without sources whose one action calls it.
  "targets": [
    {
      "target_name": "attn_vk",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "message": "Building attn_vk.node with CMake",
          "inputs": ["<!@(node scripts/build-native.mjs --inputs)"],
          "outputs": ["<(PRODUCT_DIR)/attn_vk.node"],
          "action": ["node", "scripts/build-native.mjs"]
        }
      ]
    }
  ]
}
