// Prisma's adapter for pg: `new PrismaClient({ adapter })` with a generated client. This example uses the adapter directly, so
// that no client has to be generated.
import { reportLogin } from "./setup.js";
import { PrismaPg } from "@prisma/adapter-pg";
import { entraConfig } from "pgentra";

const adapter = new PrismaPg(await entraConfig());
const client = await adapter.connect();
const { rows } = await client.queryRaw({ sql: "select current_user::text as role", args: [], argTypes: [] });
reportLogin("prisma", rows[0][0]);
await client.dispose();
