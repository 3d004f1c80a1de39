// pg-boss from version 11.
import { PgBoss } from "pg-boss";
import { entraConfig } from "pgentra";

const schema = `boss_${process.env.TEST_NUMBER}`;
const boss = new PgBoss({ ...(await entraConfig()), schema });
boss.on("error", (error) => console.error(error));
await boss.start();
await boss.createQueue("orders");
await boss.send("orders", { item: "book" });
const [job] = await boss.fetch("orders");
if (job.data.item !== "book") throw new Error("another job was fetched");
const { rows } = await boss.getDb().executeSql("select current_user as role", []);
console.log(rows[0].role);
await boss.getDb().executeSql(`drop schema ${schema} cascade`, []);
await boss.stop({ graceful: false });
