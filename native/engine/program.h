// Instruction blocks: what JavaScript records and the executor runs, as 32-bit words.
//
//   op      prepared  inputs...  outputs...     prepared >= 0; operand counts are the prepared op's
//   free    -1  buffer                          the last reference is gone
//   adopt   -2  buffer  upload                  buffer takes the bytes of an upload
//   read    -3  buffer  target                  buffer's bytes go to a read target
//   view    -5  buffer  parent  offset          buffer names the parent's bytes from 256 * offset on
//   heal    -6  buffer                          its failure is forgotten: all of it is about to be written
//   forget  -4  prepared                        not named again in this block; its number may be given to
//                                               another prepared op from the next block on
//
// Frees are moved up to the last use before them, so a temporary lives exactly as long as it is needed
// however late JavaScript drops it.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "prepared.h"

namespace attn::engine {

enum Word : int32_t { kFree = -1, kAdopt = -2, kRead = -3, kForget = -4, kView = -5, kHeal = -6 };

struct Instruction {
  Prepared* prepared = nullptr;  // null for adopt, read and view
  int32_t kind = 0;              // Word, or 0 for an op
  uint32_t argument = 0;         // upload or target index, or a view's offset
  std::span<const int32_t> operands;
  const int32_t* holders = nullptr;  // of each operand's bytes: the buffer itself, or its parent
  int32_t frees = -1;                // head of a list in Program::freed
};

struct Freed {
  int32_t buffer, next;
};

struct Program {
  std::vector<Instruction> instructions;
  std::vector<Freed> freed;
  std::vector<int32_t> freed_first;  // buffers that this block does not use before freeing them
  std::vector<int32_t> forgotten;    // prepared ops to drop after the block

  // Decodes a block. Throws ATTN_INTERNAL on malformed words.
  void decode(std::span<const int32_t> words, std::deque<Prepared>& prepared);

 private:
  std::vector<int32_t> last_use_;  // instruction index by buffer, -1 none
  std::vector<int32_t> parent_;    // of views that are alive, by buffer; -1 for others; kept between blocks
  std::vector<int32_t> holders_;   // beside the words
};

}  // namespace attn::engine
