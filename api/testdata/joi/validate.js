// Reads {kind, value} a line and writes what Joi makes of the value a line: {value} or {message, type}.
const Joi = require("joi");

const schemas = {
  integer: Joi.number().integer().min(0).max(200),
  date: Joi.date().iso(),
  boolean: Joi.boolean(),
  text: Joi.string().max(1500),
  choice: Joi.string().valid("text", "postback", "attachment", "other"),
};

require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { kind, value } = JSON.parse(line);
  const result = Joi.object({ x: schemas[kind] }).validate({ x: value }, { abortEarly: false });
  const fault = result.error?.details[0];
  console.log(JSON.stringify(fault ? { message: fault.message, type: fault.type } : { value: result.value.x }));
});
