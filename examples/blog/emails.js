// The consumer of outbox.publish('emails', …): declares its queue first, then takes what comes.
const amqp = require("amqplib");

(async () => {
  const connection = await amqp.connect(process.env.AMQP_URL || "amqp://localhost");
  const channel = await connection.createChannel();
  await channel.assertQueue("emails", { durable: true });
  await channel.consume("emails", (message) => {
    const { to, subject } = JSON.parse(message.content);
    console.log(`email to ${to}: ${subject} [${message.properties.messageId}]`);
    channel.ack(message);
  });
  console.log("emails: waiting");
})();
