"""Drive one BMC with DMTF's redfish: read, power, boot override, virtual media.

Usage: drive_redfish.py ADDRESS USER PASSWORD
The machine must be off, and is off again at the end.
"""

import sys
import time
import warnings

import redfish
from redfish.rest.v1 import InvalidCredentialsError

import medium

warnings.filterwarnings("ignore", message="Unverified HTTPS request")


def get(client, path):
    response = client.get(path)
    assert response.status == 200, (path, response.status)
    return response.dict


def first(client, path):
    """The first member of a collection."""
    return get(client, path)["Members"][0]["@odata.id"]


def wait_for_power(client, system, wanted):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = get(client, system)["PowerState"]
        if state == wanted:
            return
        time.sleep(0.1)
    raise AssertionError(f"power is {state}, not {wanted}")


def reset(client, system, kind):
    target = get(client, system)["Actions"]["#ComputerSystem.Reset"]["target"]
    return client.post(target, body={"ResetType": kind})


def crawl(client):
    """Read all there is; every address that a resource gives must be there."""
    todo, seen = ["/redfish/v1/"], set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        resource = get(client, path)
        assert resource["@odata.id"] == path, path
        assert resource["@odata.type"].startswith("#"), path
        stack = [resource]
        while stack:
            value = stack.pop()
            if isinstance(value, dict):
                link = value.get("@odata.id")
                if link and "#" not in link:
                    todo.append(link)
                stack.extend(value.values())
            elif isinstance(value, list):
                stack.extend(value)
    return len(seen)


def power(client, system):
    assert reset(client, system, "ForceOff").status == 409
    assert reset(client, system, "Sideways").status == 400
    assert reset(client, system, "On").status == 204
    wait_for_power(client, system, "On")
    assert reset(client, system, "PowerCycle").status == 204
    wait_for_power(client, system, "On")
    assert reset(client, system, "GracefulShutdown").status == 204
    # A machine with nothing to run may ignore its power button; a phantom does not.
    if "(phantom)" in get(client, system)["Model"]:
        wait_for_power(client, system, "Off")
    else:
        assert reset(client, system, "ForceOff").status == 204


def boot_override(client, system):
    reading = client.get(system)
    etag = reading.getheader("ETag")
    body = {
        "Boot": {
            "BootSourceOverrideEnabled": "Once",
            "BootSourceOverrideTarget": "Cd",
            "BootSourceOverrideMode": "UEFI",
        }
    }
    assert client.patch(system, body=body, headers={"If-Match": '"old"'}).status == 412
    assert client.patch(system, body=body, headers={"If-Match": etag}).status == 200
    boot = get(client, system)["Boot"]
    assert boot["BootSourceOverrideTarget"] == "Cd"
    assert boot["BootSourceOverrideEnabled"] == "Once"
    assert reset(client, system, "On").status == 204
    wait_for_power(client, system, "On")
    assert get(client, system)["Boot"]["BootSourceOverrideEnabled"] == "Disabled"
    assert reset(client, system, "ForceOff").status == 204
    wait_for_power(client, system, "Off")


def virtual_media(client, manager, url):
    slots = get(client, get(client, manager)["VirtualMedia"]["@odata.id"])["Members"]
    for slot in slots:
        slot = slot["@odata.id"]
        actions = get(client, slot)["Actions"]
        insert = actions["#VirtualMedia.InsertMedia"]["target"]
        eject = actions["#VirtualMedia.EjectMedia"]["target"]
        assert client.post(insert, body={"Image": url}).status == 204
        reading = get(client, slot)
        assert reading["Inserted"] and reading["Image"] == url
        assert client.post(insert, body={"Image": url}).status == 409
        assert client.post(eject, body={}).status == 204
        assert get(client, slot)["Inserted"] is False
        assert client.post(insert, body={}).status == 400


def main():
    address, user, password = sys.argv[1:]
    url = medium.serve()
    for auth in (redfish.AuthMethod.SESSION, redfish.AuthMethod.BASIC):
        client = redfish.redfish_client(address, user, password)
        client.login(auth=auth)
        system = first(client, "/redfish/v1/Systems")
        manager = first(client, "/redfish/v1/Managers")
        count = crawl(client)
        assert count > 50, count
        power(client, system)
        boot_override(client, system)
        virtual_media(client, manager, url)
        client.logout()
    try:
        redfish.redfish_client(address, user, "wrong").login(auth="session")
    except InvalidCredentialsError:
        pass
    else:
        raise AssertionError("a wrong password was taken")
    print("redfish: all as it should be")


main()
