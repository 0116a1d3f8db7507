// Unit tests of the native floors that need no Node: one file per subject, run by test/native/native.test.ts.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
