// Prices: the service counts the smallest units of a currency, people read and type whole ones.

import { locale, t } from "./words.js";

/** The digits after the point of a currency; null if it is not one. */
export function digitsOf(currency) {
  try {
    return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
  } catch {
    return null;
  }
}

/** A price in words: `€45.00`, or `free`. */
export function priceWords({ amount, currency }) {
  if (!amount) return t("about.free");
  return new Intl.NumberFormat(locale, { style: "currency", currency }).format(amount / 10 ** digitsOf(currency));
}

/** The amount as it is typed: `45.00`. */
export const typed = ({ amount, currency }) => (amount / 10 ** digitsOf(currency)).toFixed(digitsOf(currency));

/** The price of a typed amount; null if it has more digits than the currency. */
export function priceOf(text, currency) {
  const units = Number(text) * 10 ** digitsOf(currency);
  return Math.abs(units - Math.round(units)) < 1e-6 ? { amount: Math.round(units), currency } : null;
}
