export const matmulVariants = (..._: any[]): any[] => [];
