"""Drive one BMC with OpenStack's sushy: read, power, boot override, virtual media.

Usage: drive_sushy.py ADDRESS USER PASSWORD
The machine must be off, and is off again at the end.
"""

import sys
import time
import warnings

import sushy
from sushy import auth, exceptions

import medium

warnings.filterwarnings("ignore", message="Unverified HTTPS request")


def wait_for_power(system, wanted):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        system.refresh(force=True)
        if system.power_state == wanted:
            return
        time.sleep(0.1)
    raise AssertionError(f"power is {system.power_state}, not {wanted}")


def read(root, system):
    assert system.manufacturer == "Billet Lab", system.manufacturer
    assert system.serial_number and system.uuid and system.bios_version
    assert system.memory_summary.size_gib > 0
    assert system.processors.summary.count >= 2
    assert system.processors.get_members()[0].model
    assert system.ethernet_interfaces.summary, "no MAC addresses"
    drives = [d for s in system.storage.get_members() for d in s.drives]
    assert drives and all(d.serial_number and d.capacity_bytes > 0 for d in drives)
    assert system.storage.max_drive_size_bytes > 0
    assert system.bios.attributes["BootMode"] == "Uefi"
    assert system.secure_boot.mode in list(sushy.SecureBootMode)
    manager = root.get_manager_collection().get_members()[0]
    assert manager.manager_type == sushy.ManagerType.BMC
    assert manager.firmware_version
    chassis = root.get_chassis_collection().get_members()[0]
    assert chassis.chassis_type == sushy.ChassisType.RACK_MOUNT
    firmware = root.get_update_service().firmware_inventory.get_members()
    assert {f.identity for f in firmware} == {"BIOS", "BMC"}
    assert root.get_task_service().tasks is not None
    return manager


def power(system):
    allowed = system.get_allowed_reset_system_values()
    assert sushy.ResetType.ON in allowed and sushy.ResetType.FORCE_OFF in allowed
    assert sushy.ResetType.GRACEFUL_SHUTDOWN in allowed
    assert system.power_state == sushy.PowerState.OFF, system.power_state
    system.reset_system(sushy.ResetType.ON)
    wait_for_power(system, sushy.PowerState.ON)
    try:
        system.reset_system(sushy.ResetType.ON)
    except exceptions.HTTPError as error:
        assert error.status_code == 409, error
    else:
        raise AssertionError("a machine that is on was turned on")
    system.reset_system(sushy.ResetType.FORCE_RESTART)
    wait_for_power(system, sushy.PowerState.ON)
    system.reset_system(sushy.ResetType.FORCE_OFF)
    wait_for_power(system, sushy.PowerState.OFF)


def boot_override(system):
    assert sushy.BootSource.CD in system.get_allowed_system_boot_source_values()
    system.set_system_boot_options(
        target=sushy.BootSource.CD,
        enabled=sushy.BootSourceOverrideEnabled.ONCE,
        mode=sushy.BootSourceOverrideMode.UEFI,
    )
    system.refresh(force=True)
    assert system.boot.target == sushy.BootSource.CD
    assert system.boot.enabled == sushy.BootSourceOverrideEnabled.ONCE
    system.reset_system(sushy.ResetType.ON)
    wait_for_power(system, sushy.PowerState.ON)
    assert system.boot.enabled == sushy.BootSourceOverrideEnabled.DISABLED
    system.reset_system(sushy.ResetType.FORCE_OFF)
    wait_for_power(system, sushy.PowerState.OFF)


def virtual_media(manager, url):
    slots = manager.virtual_media.get_members()
    cd = next(s for s in slots if sushy.VirtualMediaType.CD in s.media_types)
    assert not cd.inserted
    cd.insert_media(url, write_protected=True)
    cd.refresh(force=True)
    assert cd.inserted and cd.image == url
    cd.eject_media()
    cd.refresh(force=True)
    assert not cd.inserted and not cd.image
    try:
        cd.insert_media(url + ".missing")
    except exceptions.HTTPError as error:
        assert error.status_code == 400, error
    else:
        raise AssertionError("a medium that is not there was inserted")


def main():
    address, user, password = sys.argv[1:]
    for how in (auth.SessionAuth(user, password), auth.BasicAuth(user, password)):
        root = sushy.Sushy(address, auth=how, verify=False)
        system = root.get_system_collection().get_members()[0]
        manager = read(root, system)
        power(system)
        boot_override(system)
        virtual_media(manager, medium.serve())
        how.close()
    try:
        sushy.Sushy(address, auth=auth.SessionAuth(user, "wrong"), verify=False)
    except exceptions.AccessError:
        pass
    else:
        raise AssertionError("a wrong password was taken")
    print("sushy: all as it should be")


main()
