const express = require("express");
const app = express();
app.use("/assets", express.static("public"));
app.get("/", (request, response) => response.send("Hello from yarn"));
app.listen(process.env.PORT);
