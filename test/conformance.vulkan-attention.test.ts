/** Every op of attention on each Vulkan device. */
import { isAttention, vulkanConformance } from './support/conformance-suite.js';

vulkanConformance(isAttention);
