create table flyway_starter (id int);
insert into flyway_starter values (1);
