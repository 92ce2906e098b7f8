"""Sensors and schedules looked at in this process, on days that are lived through faster than they come.

Belongs here: one tick of one of them, and how far each has read. Does not belong here: which of them tick on which day
(`life`, `lived`), and what they decide (`credit_assets.automation`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import dagster as dg

from credit_assets.automation.event_cursors import write_cursor
from credit_assets.automation.report_triggers import report_sensors
from credit_assets.failures import PermanentError
from credit_assets.ml.rules.triggers import TriggerState
from credit_assets.notify.ticks import Unreachable
from credit_assets.resources import objects_of
from credit_assets.settings import Settings


class SensorTicks:
    """The sensors and schedules of one house."""

    def __init__(self, settings: Settings, instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
        self.instance, self.definitions = instance, definitions
        self.repository = definitions.get_repository_def()
        self.triggers = tuple(sensor.name for sensor in report_sensors(settings))
        """The names of the sensors that follow reports."""
        # Switched on before the first day: all days are ingested at once, and then lived through one after another.
        self.cursors: dict[str, str | None] = dict.fromkeys(self.triggers, write_cursor(0, TriggerState().to_record()))
        """By sensor, how far it has read."""

    def sensor(self, name: str) -> list[dg.RunRequest]:
        """What the sensor asks for on what it has not read yet, of which a tick takes so much and no more.

        Raises PermanentError where it cannot reach what it reads.
        """
        sensor = self.repository.get_sensor_def(name)
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            repository_def=self.repository,
            resources=self._resources(sensor),
            sensor_name=name,
        ) as context:
            found = sensor.evaluate_tick(context)
        if unreachable := Unreachable.of(found.skip_message):
            raise PermanentError(f"{name}: cannot reach {unreachable.service}: {unreachable.why}")
        if found.cursor is not None:
            self.cursors[name] = found.cursor
        return list(found.run_requests or [])

    def until_it_asks(self, name: str) -> list[dg.RunRequest]:
        """Tick the sensor until it asks for something, or has read everything."""
        while True:
            before = self.cursors.get(name)
            requests = self.sensor(name)
            if requests or self.cursors.get(name) == before:
                return requests

    def schedule(self, name: str, now: datetime) -> list[dg.RunRequest]:
        """What the schedule asks for at that time."""
        schedule = self.repository.get_schedule_def(name)
        with dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=now,
            repository_def=self.repository,
            resources=self._resources(schedule),
        ) as context:
            found = schedule.evaluate_tick(context)
        return list(found.run_requests or [])

    def _resources(self, wants: dg.SensorDefinition | dg.ScheduleDefinition) -> dict[str, Any]:
        resources = objects_of(self.definitions)
        return {name: resources[name] for name in wants.required_resource_keys}
