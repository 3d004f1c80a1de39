// Nest creates the Sequelize instance itself, so that the hook is added to each one.
import "reflect-metadata";
import { Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { getConnectionToken, SequelizeModule } from "@nestjs/sequelize";
import { configureEntraAuthentication } from "pgentra";
import { Sequelize } from "sequelize";

Sequelize.afterInit((sequelize) => void configureEntraAuthentication(sequelize));
const { PGHOST: host, PGPORT: port, PGDATABASE: database } = process.env;
class AppModule {}
Module({
    imports: [
        SequelizeModule.forRootAsync({
            useFactory: () => ({ dialect: "postgres", host, port: Number(port), database, logging: false, models: [] }),
        }),
    ],
})(AppModule);
const application = await NestFactory.createApplicationContext(AppModule, { logger: ["error"] });
const sequelize = application.get(getConnectionToken());
console.log((await sequelize.query("select current_user as role"))[0][0].role);
await application.close();
