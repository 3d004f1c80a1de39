--liquibase formatted sql
--changeset pgentra:1
create table liquibase_starter (id int);
insert into liquibase_starter values (1);
