/** What a program in TypeScript does with the generated types; it has to compile under `strict`. */
import createClient from "openapi-fetch";

import type { components, paths } from "./api.js";

type Booking = components["schemas"]["Booking"];

const client = createClient<paths>({ baseUrl: "http://127.0.0.1:8000" });

export async function sell(): Promise<number> {
  const made = await client.POST("/initialize", { body: { event_name: "A concert", available_tickets: 1 } });
  if (made.error) {
    throw new Error(`${made.error.code}: ${made.error.detail}`);
  }
  return made.data.event_id;
}

export async function book(eventId: number): Promise<Booking | null> {
  const booked = await client.POST("/book", { body: { event_id: eventId } });
  if (!booked.error) {
    return booked.data.data;
  }
  switch (booked.error.code) {
    case "already_booked":
      return booked.error.data.booking;
    case "sale_not_open":
      console.log(`It opens at ${booked.error.data.opens_at}.`);
      return null;
    default: {
      // @ts-expect-error: no error has this code, and the types know it
      const impossible = booked.error.code === "no_such_code";
      return impossible ? null : null;
    }
  }
}
