// Prisma's adapter for pg: `new PrismaClient({ adapter })` with a client that `prisma generate` made. Here the adapter is
// asked by itself, so that nothing has to be generated.
import "./env.js";
import { PrismaPg } from "@prisma/adapter-pg";
import { entraConfig } from "pgentra";

const adapter = new PrismaPg(await entraConfig());
const client = await adapter.connect();
const { rows } = await client.queryRaw({ sql: "select current_user::text as role", args: [], argTypes: [] });
console.log(`connected as ${rows[0][0]}`);
await client.dispose();
