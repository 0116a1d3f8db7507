// A team of invocations that reduces one row: a subgroup alone (define TEAM_SUBGROUP; the workgroup is the
// subgroup), one invocation (TEAM_LONE), or a workgroup of up to 256 through a tree in shared memory. Every member
// gets the result.
#ifndef ATTN_TEAM
#define ATTN_TEAM

#ifdef TEAM_LONE
#define MEMBER 0u
#define MEMBERS 1u
#define TEAM_INDEX (GROUP_INDEX * gl_WorkGroupSize.x + gl_LocalInvocationID.x)
#else
#define MEMBER gl_LocalInvocationID.x
#define MEMBERS gl_WorkGroupSize.x
#define TEAM_INDEX GROUP_INDEX
#endif

#ifdef TEAM_LONE
float team_add(float x) { return x; }
uint team_add(uint x) { return x; }
uint team_max(uint x) { return x; }
uint team_min(uint x) { return x; }
#elif defined(TEAM_SUBGROUP)
float team_add(float x) { return subgroupAdd(x); }
uint team_add(uint x) { return subgroupAdd(x); }
uint team_max(uint x) { return subgroupMax(x); }
uint team_min(uint x) { return subgroupMin(x); }
#else
shared uint team_words[256];

#define TEAM_TREE(TYPE, NAME, TO, FROM, JOIN)                                       \
  TYPE NAME(TYPE x) {                                                               \
    barrier();                                                                      \
    team_words[MEMBER] = TO(x);                                                     \
    barrier();                                                                      \
    for (uint apart = MEMBERS / 2u; apart > 0u; apart /= 2u) {                      \
      if (MEMBER < apart) {                                                         \
        const TYPE a = FROM(team_words[MEMBER]), b = FROM(team_words[MEMBER + apart]); \
        team_words[MEMBER] = TO(JOIN);                                              \
      }                                                                             \
      barrier();                                                                    \
    }                                                                               \
    return FROM(team_words[0]);                                                     \
  }
TEAM_TREE(float, team_add, floatBitsToUint, uintBitsToFloat, a + b)
TEAM_TREE(uint, team_add, uint, uint, a + b)
TEAM_TREE(uint, team_max, uint, uint, max(a, b))
TEAM_TREE(uint, team_min, uint, uint, min(a, b))
#endif
#endif
