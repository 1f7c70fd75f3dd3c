import { shard } from "./shards.ts";

shard(2);
