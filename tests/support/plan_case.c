/* SPDX-License-Identifier: GPL-2.0-or-later */
/* plan_case.c: a good host and a usual VM, from which tests of decisions depart. */
#include "plan_case.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char good_host[] =
	"{\"host\": {\"kernel\": \"6.8.0\", \"cpu_model\": \"Some CPU\","
	" \"cpu_flags\": \"cx16 lahf_lm popcnt ssse3 sse4_1 sse4_2 aes pclmulqdq avx avx2 bmi1 "
	"bmi2 f16c fma abm movbe xsave\","
	" \"cpus\": 4, \"mem_bytes\": 17179869184, \"mem_free_bytes\": 8589934592,"
	" \"io_uring\": true, \"fuse\": true, \"x11\": null, \"wayland\": null,"
	" \"terminal\": true, \"ssh_port\": 2222,"
	" \"scratch_folder\": \"/home/u/.cache\", \"scratch_free_bytes\": 100000000000,"
	" \"cache_folder\": \"/home/u/.cache/stickvm\", \"cache_free_bytes\": 100000000000,"
	" \"cache_on_stick\": false},"
	" \"kvm\": {\"verdict\": \"works\", \"loops_per_s\": 1000000000},"
	" \"qemu\": {\"path\": \"/usr/bin/qemu-system-x86_64\", \"version\": \"7.2.22\","
	" \"displays\": \"none gtk sdl spice-app\", \"io_uring\": true, \"sandbox\": true},"
	" \"firmware\": {\"code\": \"/usr/share/OVMF/OVMF_CODE_4M.fd\","
	" \"vars\": \"/usr/share/OVMF/OVMF_VARS_4M.fd\"},"
	" \"stick\": {\"path\": \"/media/stick\", \"node\": \"/dev/sdb1\", \"usb\": true,"
	" \"vendor\": \"SanDisk\", \"product\": \"Extreme\", \"usb_id\": \"0781:5588\","
	" \"port\": \"2-1\", \"hubs\": \"\", \"speed_mbps\": 5000, \"usb_version\": 800,"
	" \"driver\": \"uas\", \"power_ma\": 896, \"removable\": true, \"fs\": \"ext4\","
	" \"mount_point\": \"/media/stick\", \"mount_options\": \"rw,nosuid,nodev\","
	" \"read_only\": false, \"size_bytes\": 64000000000, \"free_bytes\": 32000000000}}";

struct facts plan_case_facts(void)
{
	json_t *json = json_loads(good_host, 0, NULL);
	struct facts facts;
	struct err err;
	int rc = json ? facts_from_json(json, &facts, &err) : -1;

	assert(rc == 0);
	(void)rc;
	json_decref(json);
	return facts;
}

void plan_case_set(struct facts *facts, const char *name, const char *json)
{
	const struct fact_field *field = facts_find(name);
	json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
	json_t *all = facts_to_json(facts);
	struct facts changed;
	struct err err;
	char section[32];
	int rc;

	assert(field && value);
	snprintf(section, sizeof section, "%.*s", (int)strcspn(name, "."), name);
	json_object_set_new(json_object_get(all, section), strchr(field->name, '.') + 1, value);
	rc = facts_from_json(all, &changed, &err);
	assert(rc == 0);
	(void)rc;
	json_decref(all);
	facts_free(facts);
	*facts = changed;
}

struct vm plan_case_vm(void)
{
	static char name[] = "web", uuid[] = "5f0c1a52-7a35-4d0e-9a30-0f2d6f9f7c11",
		    mac[] = "52:54:00:12:34:56", machine[] = "pc-q35-7.2";

	return (struct vm){
		.name = name,
		.uuid = uuid,
		.mac = mac,
		.machine = machine,
		.os = VM_OS_LINUX,
		.bus = VM_BUS_VIRTIO_BLK,
		.firmware = VM_FW_UEFI,
		.cpu = VM_CPU_ROAM_V3,
		.policy = VM_POLICY_STICK,
		.ram_bytes = UINT64_C(1) << 30,
		.cpus = 2,
		.ssh_port = 2222,
		.size_bytes = UINT64_C(64) << 30,
	};
}
