// A visit counter: express, static assets, and a native module that has to be compiled.
const path = require('node:path');
const Database = require('better-sqlite3');
const express = require('express');

const db = new Database(process.env.DATABASE_FILE || ':memory:');
db.exec('create table if not exists visits (at integer not null)');

const app = express();
app.use('/assets', express.static(path.join(__dirname, 'public')));
app.get('/', (_, res) => {
  db.prepare('insert into visits (at) values (?)').run(Date.now());
  const { n } = db.prepare('select count(*) as n from visits').get();
  res.type('text').send(`Hello from node, visit ${n}\n`);
});
app.get('/up', (_, res) => res.send('ok\n'));

const server = app.listen(process.env.PORT || 8080, () => console.log('listening'));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
