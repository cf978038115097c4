"""Tests of the load test, with a correct service and with one that gives wrong answers on purpose."""
