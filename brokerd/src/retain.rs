//! The retained messages of this node: the last one of each topic. Never decides who may read or write them.
