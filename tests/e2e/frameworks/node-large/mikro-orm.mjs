// MikroORM 7, whose driver options are those of pg.
import { EntitySchema, MikroORM } from "@mikro-orm/postgresql";
import { entraConfig } from "pgentra";

const entity = new EntitySchema({ name: "Thing", properties: { id: { type: "number", primary: true } } });
const { PGHOST: host, PGPORT: port, PGDATABASE: database } = process.env;
const driverOptions = await entraConfig({ host, port: Number(port), database });
const orm = await MikroORM.init({ dbName: database, driverOptions, entities: [entity] });
console.log((await orm.em.getConnection().execute("select current_user as role"))[0].role);
await orm.close(true);
