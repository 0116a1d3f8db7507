/** Every op but attention's on each Vulkan device. */
import { isAttention, vulkanConformance } from './support/conformance-suite.js';

vulkanConformance((op) => !isAttention(op));
